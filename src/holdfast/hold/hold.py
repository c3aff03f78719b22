"""`Hold`: what every caller holds. (The public face; its parts are in this folder.)"""

from __future__ import annotations

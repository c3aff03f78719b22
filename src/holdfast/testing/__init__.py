"""The shipped testing kit, for Holdfast's own tests and for whoever writes a driver, a layer or a source.

`servers` starts real servers, `disks` makes real disks that are full, read-only or gone, `power` cuts the
power of a real kernel, `lossy` has files that forget what was not synced, `failing` files that fail or die at
the n-th effect. `fixtures` offers them to pytest. What the machine at hand cannot do raises
`here.CannotRunHere` with the reason: a test decides what that means, nothing here passes by doing nothing.
"""

"""Configuration: one document, three spellings, one canonical tree.

`read.read_document` reads our own `holdfast.yml`, Galaxy's `object_store_conf.xml` or Galaxy's
`object_store_conf.yml` into a `document.HoldfastConfig`; `expand.to_document` writes that back in our own
spelling. Every key stands once, in `vocabulary` and `vocabulary_remote`: the readers, the messages and the
reference pages are all made from that table.

    nodes, yaml_source, xml_source      what the file says, with lines
    keys, values, vocabulary*           the table of keys, and what their values may be
    definitions                         a place of the tree as the file has it, in the table's names
    galaxy_xml, galaxy_yaml, own_yaml   the three spellings -> definitions
    fields, ids, tree, galaxy_notes,    definitions -> the canonical tree, judged
    sanity
    document, secrets                   the result: frozen values
    read, expand, write, reference      what callers use

pydantic is not used here: it knows neither lines nor three names for one key, and what it adds (types of
plain values) is a page of code in `values`.
"""

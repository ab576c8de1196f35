"""Adapters: one file a platform, or a package where it would be too long.

docs/add-a-platform.md has the steps, and a whole adapter to copy: `XSettings(AdapterSettings)`,
`XAdapter(ChannelAdapter)` and, as the last line, `ADAPTER = XAdapter`. What several share lies
beside them, named for what it is. A package outside of this repository names its adapter by an
entry point of the group `kfbot.adapters`.
"""

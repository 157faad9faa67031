"""Loads PyYAML's binding to libyaml without PyYAML: its loaders and dumpers in Python, which nothing here uses.

They would cost every pod 1.2 MiB and 7 ms, for `import yaml` loads them all. The binding wants no more of them than
their error classes. Only an agent's own process does this, before anything else imports yaml; where it does not
work out, for a PyYAML of another make may want more or have other names, or where yaml is there already, PyYAML is
loaded as usual.
"""

import sys
from importlib.machinery import PathFinder
from types import ModuleType, SimpleNamespace

# The parts written in Python, with the one class of each that the binding asks for.
_ERRORS = {
    "scanner": "ScannerError",
    "parser": "ParserError",
    "composer": "ComposerError",
    "constructor": "ConstructorError",
    "emitter": "EmitterError",
    "serializer": "SerializerError",
    "representer": "RepresenterError",
}


def load() -> None:
    """Put a package `yaml` in place that holds the binding, tokens, events, nodes and errors."""
    found = PathFinder.find_spec("yaml")
    if found is None or found.submodule_search_locations is None or "yaml" in sys.modules:
        return
    package = ModuleType("yaml")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["yaml"] = package
    try:
        _fill(package)
    except Exception:  # noqa: BLE001 - a PyYAML of another make, and whatever it misses
        # A binding that is at work already knows these very classes of events: they stay where they are.
        mine = {"yaml", "yaml._yaml"} if "yaml._yaml" in sys.modules else set(sys.modules)
        for name in [name for name in mine if name.partition(".")[0] == "yaml"]:
            del sys.modules[name]


def _fill(package: ModuleType) -> None:
    from yaml import error, events, nodes, tokens  # noqa: PLC0415 - of the package just made

    for whole in (error, events, nodes, tokens):
        package.__dict__.update({name: value for name, value in vars(whole).items() if not name.startswith("_")})
    for part, name in _ERRORS.items():
        setattr(package, part, SimpleNamespace(**{name: type(name, (error.MarkedYAMLError,), {})}))
    # This one has no marks: what it is told ends with the reason.
    reason = {"reason": property(lambda self: self.args[-1])}
    setattr(package, "reader", SimpleNamespace(ReaderError=type("ReaderError", (error.YAMLError,), reason)))  # noqa: B010
    import yaml._yaml  # noqa: PLC0415 - as above

    yaml._yaml.CParser  # noqa: B018, SLF001 - what all this is for

"""The decorator that checks annotated types and shapes at run time, in both test suites."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do where a float is asked for

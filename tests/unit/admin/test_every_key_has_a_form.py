"""Every key of a tenant has a field in a form of the console, or a stated reason why it has none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from portal.admin.api_form import API_FIELDS
from portal.admin.link_form import HOME_FIELD, LINK_FIELDS
from portal.admin.organisation_fields import GENERAL_FIELDS
from portal.admin.provider_fields import asked_fields
from portal.admin.yaml_only import PROVIDERS_OWN_ACCESS, YAML_ONLY
from portal.tenancy.presets import built_in
from portal.tenancy.schema.provider import ProviderFile
from portal.tenancy.schema.tenant import ManyProvidersTenantFile, OneProviderTenantFile, TenantBase

RULES = ("access.require", "access.contact", "admins")
"""What the forms of rules ask for (`portal.admin.general_form`), with all keys below."""


def form_keys() -> Iterator[str]:
    """The keys that the forms ask for."""
    yield from RULES
    yield from (".".join(one.key) for one in (*GENERAL_FIELDS, HOME_FIELD))
    yield from (f"links[].{'.'.join(one.key)}" for one in LINK_FIELDS)
    for prefix in ("api", "apis.<name>"):
        yield from (f"{prefix}.{'.'.join(one.key)}" for one in API_FIELDS)
    yield "preset"  # chosen on the page before the form of the provider
    for preset in built_in().all():
        for one in asked_fields(preset, several=True):
            if not one.of_tenant:  # `fields` has the keys that its preset names
                yield "fields" if one.key[0] == "fields" else ".".join(one.key)


FORMS = frozenset(form_keys())


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The keys of a model that lead to no further mapping with known keys."""
    for name, field in model.model_fields.items():
        yield from _below(field.annotation, f"{prefix}{name}")


def _below(annotation: Any, key: str) -> set[str]:
    """The keys below a value of a type; the key itself if there are none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return set(leaves(annotation, f"{key}."))
    origin = get_origin(annotation)
    inside = f"{key}.<name>" if origin is dict else f"{key}[]" if origin in (list, tuple) else key
    inner = [one for one in get_args(annotation) if _has_model(one)]
    return {found for one in inner for found in _below(one, inside)} or {key}


def _has_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(map(_has_model, get_args(annotation)))


def covers(holder: str, key: str) -> bool:
    return key == holder or key.startswith((f"{holder}.", f"{holder}["))


def is_covered(key: str, holders: Any) -> bool:
    return any(covers(one, key) for one in holders)


def test_every_key_of_a_tenant_has_a_form_or_a_reason() -> None:
    keys = set(leaves(OneProviderTenantFile))
    assert {"apis.<name>.timeout", "links[].url", "claims.page", "listed", "step_up_scopes"} <= keys
    missing = sorted(key for key in keys if not is_covered(key, FORMS) and not is_covered(key, YAML_ONLY))
    assert missing == [], "add a field to a form, or a reason to YAML_ONLY in portal/admin/yaml_only.py"


def test_a_key_with_a_form_has_no_reason_to_have_none() -> None:
    keys = set(leaves(OneProviderTenantFile))
    both = sorted(key for key in keys if is_covered(key, FORMS) and is_covered(key, YAML_ONLY))
    assert both == [], "remove them from YAML_ONLY"


def test_every_field_and_every_reason_is_about_a_key() -> None:
    keys = set(leaves(OneProviderTenantFile))
    assert [one for one in sorted({*FORMS, *YAML_ONLY}) if not any(covers(one, key) for key in keys)] == []
    assert all(reason.endswith(".") for reason in (*YAML_ONLY.values(), PROVIDERS_OWN_ACCESS))


def test_several_providers_have_the_keys_of_one() -> None:
    """So that what holds for one provider holds for each of several."""
    several = {*leaves(ManyProvidersTenantFile)}
    own = {*leaves(ProviderFile)}
    assert several == {*leaves(TenantBase)} | {f"providers.<name>.{key}" for key in own}
    assert {*leaves(OneProviderTenantFile)} == {*leaves(TenantBase)} | own

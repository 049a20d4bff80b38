"""The forms for a provider and for the rest of a tenant: values, changes, and where problems belong."""

from __future__ import annotations

import pytest

from portal.admin.editing import set_values, values
from portal.admin.general_form import (
    AccessForm,
    AdminsForm,
    WhoMayIn,
    access_form,
    access_value,
    admin_rule,
    admins_form,
    admins_value,
    rule_changes,
    with_admin,
)
from portal.admin.organisation_fields import GENERAL_FIELDS
from portal.admin.problem_words import for_people
from portal.admin.provider_entries import (
    free_id,
    id_problem,
    issuer_of,
    named,
    provider_keys,
    recognized,
    with_other_kind,
    with_provider,
    without_provider,
)
from portal.admin.provider_fields import asked_fields
from portal.admin.provider_form import changes, current_values, sort_problems
from portal.errors import Problem
from portal.tenancy.presets import Preset, built_in
from portal.tenancy.public_issuers import missing_access_message

ONE = """\
name: A
preset: okta   # ours
domain: a.okta.com
client: {id: x, secret: 'sealed:1'}
access: anyone
"""


def preset(name: str) -> Preset:
    found = built_in().find(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", built_in().names())
def test_every_field_of_every_preset_is_saved_and_shown_again(name: str) -> None:
    asked = asked_fields(preset(name), several=False)
    typed = {one.name: one.choices[1][0] if one.choices else f"value-of-{one.name}" for one in asked}
    made, cut = changes(asked, typed, current_values({}, (), asked), ())
    content = set_values("name: A\n", made)
    now = current_values(values(content), (), asked)
    assert not cut
    assert not now.unusual
    for one in asked:
        assert one.name in now.set_secrets if one.secret else now.texts[one.name] == typed[one.name]
    assert (
        set_values(content, changes(asked, {**typed, **dict.fromkeys(now.set_secrets, "")}, now, ())[0])
        == content
    )
    emptied, _ = changes(asked, dict.fromkeys(typed, ""), now, ())
    left = values(set_values(content, emptied))
    assert left.keys() <= {"name", "client"}
    assert {*left.get("client", {})} <= {"secret", "certificate", "private_key", "signed_secret"}


def test_values_that_no_form_can_show_are_left_alone() -> None:
    root = values("client: {id: [x], secret: [{value: a}], auth: tls_client_auth}\nscopes: openid\n")
    asked = asked_fields(preset("okta"), several=False)
    now = current_values(root, (), asked)
    assert now.unusual == {"client_id", "more-auth", "more-scopes"}
    made, _ = changes(asked, dict.fromkeys([one.name for one in asked], ""), now, ())
    assert made == {}


@pytest.mark.parametrize(
    ("pasted", "issuer"),
    [
        ("https://a.example/.well-known/openid-configuration", "https://a.example"),
        ("https://a.example/x/.well-known/oauth-authorization-server/", "https://a.example/x"),
        ("https://a.example/", "https://a.example/"),
        (
            "https://a.example/.well-known/openid-configuration?x",
            "https://a.example/.well-known/openid-configuration?x",
        ),
    ],
)
def test_the_url_of_metadata_is_cut(pasted: str, issuer: str) -> None:
    assert issuer_of(pasted) == (issuer, issuer != pasted)


@pytest.mark.parametrize(
    ("pasted", "name", "keys"),
    [
        (
            "https://acme.eu.auth0.com/.well-known/openid-configuration",
            "auth0",
            {"domain": "acme.eu.auth0.com"},
        ),
        ("acme.okta.com", "okta", {"domain": "acme.okta.com"}),
        ("https://acme.okta.com/oauth2/default", "okta", {"issuer": "https://acme.okta.com/oauth2/default"}),
        ("https://accounts.google.com", "google", {}),
        ("https://l.example/realms/x/", "keycloak", {"issuer": "https://l.example/realms/x"}),
        ("https://gitlab.com", "gitlab", {}),
        ("https://unknown.example", None, {"issuer": "https://unknown.example"}),
    ],
)
def test_an_issuer_finds_its_preset_and_fills_its_fields(
    pasted: str, name: str | None, keys: dict[str, object]
) -> None:
    found, made = recognized(pasted, built_in())
    assert (found.name if found else None) == name
    assert made == {"preset": name or "generic", **keys}


def test_a_second_provider_moves_the_first_with_its_comments() -> None:
    admins = "admins: [{claim: roles, contains: a, provider: default}, {claim: b, present: true}]\n"
    made = with_provider(ONE + admins, "acme", "other", "staff", {"preset": "google"})
    root = values(made)
    assert list(root["providers"]) == ["staff", "other"]
    assert root["providers"]["staff"] == {
        "preset": "okta",
        "domain": "a.okta.com",
        "client": {"id": "x", "secret": "sealed:1"},
    }
    assert root["access"] == "anyone"
    assert [one.get("provider") for one in root["admins"]] == ["staff", None]
    assert "    preset: okta   # ours\n" in made
    third = with_provider(made, "acme", "third", "ignored", {"preset": "generic"})
    assert list(provider_keys(values(third))) == ["staff", "other", "third"]
    assert provider_keys(values(without_provider(third, "acme", "staff"))) == {
        "other": ("providers", "other"),
        "third": ("providers", "third"),
    }


def test_a_provider_without_a_client_is_replaced_by_another_choice() -> None:
    begun = with_provider("name: A\n", "acme", "x", "y", {"preset": "okta", "domain": "a.okta.com"})
    assert values(with_provider(begun, "acme", "x", "y", {"preset": "google"})) == {
        "name": "A",
        "preset": "google",
    }


def test_another_kind_keeps_the_id_the_label_and_the_rest_of_the_tenant() -> None:
    made = with_other_kind(ONE + "label: Staff\n", "acme", "default", {"preset": "auth0", "domain": "a.b"})
    assert values(made) == {
        "name": "A",
        "preset": "auth0",
        "domain": "a.b",
        "access": "anyone",
        "label": "Staff",
    }
    both = with_provider(ONE, "acme", "other", "staff", {"preset": "google"})
    root = values(with_other_kind(both, "acme", "staff", {"preset": "auth0"}))
    assert root["providers"] == {"staff": {"preset": "auth0"}, "other": {"preset": "google"}}
    with pytest.raises(KeyError):
        with_other_kind(ONE, "acme", "other", {"preset": "auth0"})


@pytest.mark.parametrize(
    ("preset_name", "typed", "made"),
    [
        (
            "okta",
            "https://a.okta.com/oauth2/x",
            {("domain",): None, ("issuer",): "https://a.okta.com/oauth2/x"},
        ),
        ("okta", "https://a.okta.com/.well-known/openid-configuration", {("domain",): "a.okta.com"}),
        ("auth0", "https://a.eu.auth0.com/", {("domain",): "a.eu.auth0.com"}),
        ("adfs", "https://sso.a.example/adfs", {("domain",): "sso.a.example"}),
        ("cognito", "https://a.example/login", {("domain",): "a.example"}),
    ],
)
def test_a_path_of_an_issuer_is_kept_where_it_selects_another_one(
    preset_name: str, typed: str, made: dict[tuple[str, ...], object]
) -> None:
    asked = asked_fields(preset(preset_name), several=False)
    texts = {one.name: "" for one in asked} | {"domain": typed}
    found, cut = changes(asked, texts, current_values({}, (), asked), ())
    assert found == made
    assert cut == ("domain",)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("OKTA", ["okta"]),
        ("Azure AD", ["entra"]),
        ("login.gov", ["login_gov"]),
        ("g suite", ["google"]),
        ("active directory", ["adfs", "entra"]),
        ("x", []),
        ("https://accounts.google.com", []),
    ],
)
def test_presets_are_found_by_what_people_call_them(typed: str, names: list[str]) -> None:
    assert sorted(one.name for one in named(typed, built_in())) == names


def test_messages_for_people_have_no_words_of_files() -> None:
    keys = ("providers", "staff", "client")
    lacks = 'providers.<name> lacks the key "client": the registration of the portal'
    assert (
        for_people(Problem("x", lacks, keys)) == "staff: “client” is missing: the registration of the portal."
    )
    colour = 'branding.color must be a colour such as "#1f6feb" (in quotes: # begins a comment), found text'
    assert for_people(Problem("x", colour, ("branding", "color"))) == "Branding.color must be like #1f6feb."
    public = missing_access_message("Google", hosted_domain=True)
    assert for_people(Problem("x", public)) == (
        "Anyone can have an account at Google: state in General settings who may sign in."
    )


def test_without_the_only_provider_the_rest_stays() -> None:
    assert without_provider(ONE, "acme", "default") == "name: A\naccess: anyone\n"
    with pytest.raises(KeyError):
        without_provider(ONE, "acme", "other")


def test_ids_are_free_and_are_no_word_of_an_address() -> None:
    root = values("providers: {okta: {preset: okta}, okta-2: {preset: okta}}\n")
    assert free_id("okta", root) == "okta-3"
    assert free_id("login_gov", root) == "login-gov"
    assert free_id("new", root) == "new-2"
    assert id_problem("okta", root)
    assert id_problem("new", root)
    assert id_problem("A b", root)
    assert id_problem("staff", root) is None


def test_problems_are_sorted_by_field_provider_and_the_rest() -> None:
    asked = asked_fields(preset("entra"), several=True)
    at = ("providers", "a")
    found = sort_problems(
        [
            Problem("x", "providers.<name>.client.id has a placeholder", (*at, "client", "id")),
            Problem("x", "providers.<name> lacks", (*at, "client")),
            Problem("x", "fields has a directory_id that is not one", (*at, "fields")),
            Problem("x", "par is wrong", (*at, "par")),
            Problem("x", "api.base_url is wrong", ("api", "base_url")),
            Problem("x", "scopes is wrong", ("providers", "b", "scopes")),
            Problem("x", "cannot be read"),
        ],
        asked,
        at,
        other_providers=True,
    )
    assert found.beside["client_id"] == "Application (client) ID has a placeholder"
    assert set(found.beside) == {"client_id", "directory_id", "more-api"}
    assert found.here == ("providers.<name> lacks", "par is wrong")
    assert found.elsewhere == 2


@pytest.mark.parametrize(
    ("message", "keys", "beside"),
    [
        (
            'this file lacks the key "client": the registration',
            ("client",),
            {"client_id": "Client ID is missing"},
        ),
        ('client lacks the key "id"', ("client", "id"), {"client_id": "Client ID is missing"}),
        ('this file lacks "domain" or "issuer": write domain: x', (), {"domain": "Okta domain is missing"}),
        ('this file lacks the key "name"', ("name",), {}),
    ],
)
def test_what_is_missing_is_said_beside_its_field(
    message: str, keys: tuple[str, ...], beside: dict[str, str]
) -> None:
    asked = asked_fields(preset("okta"), several=False)
    found = sort_problems([Problem("x", message, keys)], asked, (), other_providers=False)
    assert found.beside == beside


def test_a_missing_field_of_the_preset_is_found_by_its_label() -> None:
    text = "this file lacks the Slug of the application of authentik: write fields: {application: x}"
    asked = asked_fields(preset("authentik"), several=False)
    found = sort_problems([Problem("x", text, ())], asked, (), other_providers=False)
    assert found.beside == {"application": "Slug of the application is missing"}


def test_advice_on_files_is_not_for_forms() -> None:
    text = "client.secret is missing: write ${NAME} or file:/path, or auth: none for a public client"
    asked = asked_fields(preset("okta"), several=False)
    found = sort_problems([Problem("x", text, ("client", "secret"))], asked, (), other_providers=False)
    assert found.beside == {
        "client_secret": "Client secret is missing: type it, or choose under More settings that the client "
        "is public"
    }


@pytest.mark.parametrize(
    ("access", "form"),
    [
        (None, AccessForm(WhoMayIn.UNSTATED)),
        ("anyone", AccessForm(WhoMayIn.ANYONE)),
        (
            {"require": [{"claim": "email", "ends_with": "@a.b", "verified_by": "email_verified"}]},
            AccessForm(WhoMayIn.EMAIL, endings="@a.b"),
        ),
        (
            {"require": [{"claim": "email", "ends_with": ["@a.b", "@c.d"]}], "contact": "x"},
            AccessForm(WhoMayIn.EMAIL, endings="@a.b @c.d", verified=False, contact="x"),
        ),
        (
            {"require": [{"claim": ["https://a.b/roles"], "contains_any": ["a", "b c"]}]},
            AccessForm(WhoMayIn.CLAIM, claim="https://a.b/roles", values="a\nb c"),
        ),
        (
            {"require": [{"claim": "realm_access.roles", "contains": "a"}]},
            AccessForm(WhoMayIn.CLAIM, claim="realm_access.roles", values="a"),
        ),
    ],
)
def test_common_access_rules_are_shown_and_written_as_they_were(access: object, form: AccessForm) -> None:
    assert access_form(access) == form
    assert access_value(form) == access


@pytest.mark.parametrize(
    "access",
    [
        {"require": [{"claim": "a", "present": True}]},
        {"require": [{"claim": "email", "ends_with": "@a.b", "verified_by": "other"}]},
        {"require": [{"claim": "a", "contains": 1}]},
        {"require": [{"claim": ["a.b"], "contains": "x"}]},
        {"require": [{"claim": "a", "contains": "x"}] * 2},
        {"require": [{"claim": "a", "contains": "x"}], "paths": []},
        {"require": []},
        "everyone",
        ["x"],
    ],
)
def test_other_rules_are_shown_as_yaml(access: object) -> None:
    form = access_form(access)
    assert form.who is WhoMayIn.OTHER
    assert values(form.yaml)["access"] == access


def test_an_ending_without_a_sign_is_a_domain() -> None:
    value = access_value(AccessForm(WhoMayIn.EMAIL, endings="acme.example, .b.example"))
    assert isinstance(value, dict)
    assert value["require"][0]["ends_with"] == ["@acme.example", ".b.example"]


@pytest.mark.parametrize(
    "admins",
    [
        None,
        [{"claim": "email", "equals": "a@b.c", "verified_by": "email_verified"}],
        [{"claim": "email", "one_of": ["a@b.c", "d@b.c"]}, {"claim": "roles", "contains": "x"}],
        [{"claim": ["https://a/b"], "contains_any": ["x", "y"]}],
    ],
)
def test_common_rules_for_admins_are_shown_and_written_as_they_were(admins: object) -> None:
    form = admins_form(admins)
    assert not form.yaml
    assert admins_value(form) == admins


@pytest.mark.parametrize(
    "admins",
    [
        [{"claim": "roles", "contains": "x", "provider": "staff"}],
        [{"claim": "a", "contains": "x"}, {"claim": "b", "contains": "y"}],
        "alice",
        [1],
    ],
)
def test_other_rules_for_admins_are_left_alone(admins: object) -> None:
    form = admins_form(admins)
    assert values(form.yaml)["admins"] == admins
    assert rule_changes(AccessForm(WhoMayIn.OTHER), None, form, None) == {}


def test_general_fields_have_different_names_and_keys() -> None:
    assert (
        len({one.name for one in GENERAL_FIELDS})
        == len({one.key for one in GENERAL_FIELDS})
        == len(GENERAL_FIELDS)
    )
    assert admins_value(AdminsForm()) is None


def test_another_admin_is_shown_by_the_form_if_it_can_be() -> None:
    claims = {"sub": "1", "email": "b@c.d", "email_verified": True}
    rule = admin_rule(claims, "default", several=False)
    assert with_admin(None, rule) == [rule]
    both = with_admin([{**rule, "equals": "a@c.d"}], rule)
    assert admins_form(both) == AdminsForm("a@c.d\nb@c.d")
    unverified = [{"claim": "email", "equals": "a@c.d"}]
    assert with_admin(unverified, rule) == [*unverified, rule]
    assert admin_rule(claims, "staff", several=True) == {**rule, "provider": "staff"}
    subject = admin_rule({**claims, "email_verified": "true"}, "default", several=False)
    assert subject == {"claim": "sub", "equals": "1", "provider": "default"}
    assert with_admin([rule], subject) == [rule, subject]


def test_how_users_authenticate_is_typed_under_more_settings() -> None:
    asked = asked_fields(preset("okta"), several=False)
    now = current_values({}, (), asked)
    typed = {
        "more-step-up-scopes": "delete:orders  write:orders",
        "more-acr-values": "urn:example:mfa",
        "more-max-age": "8h",
    }
    assert {one.name for one in asked if one.more} >= typed.keys()
    made, _ = changes(asked, {one.name: "" for one in asked} | typed, now, ("providers", "staff"))
    assert made == {
        ("providers", "staff", "step_up_scopes"): ["delete:orders", "write:orders"],
        ("providers", "staff", "acr_values"): ["urn:example:mfa"],
        ("providers", "staff", "max_age"): "8h",
    }

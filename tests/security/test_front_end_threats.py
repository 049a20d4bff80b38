"""THREATS F1, F2 and F5: files outside a front end, front ends of tenants, and development servers."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from portal.config.settings import load_settings
from portal.errors import ConfigurationError
from portal.tenancy.loading import read_stored_tenant, read_tenant
from tests.kit.front_ends import SHELL, desk, front_end_folder
from tests.kit.raw import ask, change_tenant
from tests.kit.world import world
from tests.security.test_loop_files import files_opened
from tests.unit.tenancy.files import ACME, ENVIRON, problems, write

SECRET = "the content of a file outside"
OUTSIDE = [
    "/../secret.txt",
    "/../../secret.txt",
    "/%2e%2e/secret.txt",
    "/.%2e/secret.txt",
    "/%2E./secret.txt",
    "/assets/../../secret.txt",
    "/assets/..%2f..%2fsecret.txt",
    "/..%2fsecret.txt",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/%252e%252e/secret.txt",
    "/%252e%252e%252fsecret.txt",
    "/..;/secret.txt",
    "/..%00/secret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/%uff0e%uff0e/secret.txt",
    "/．．/secret.txt",
    "//secret.txt",
    "/%2fsecret.txt",
    "/{folder}/secret.txt",
    "//{folder}/secret.txt",
    "/out.txt",
    "/out-folder/secret.txt",
    "/proc/self/environ",
]
HIDDEN = [
    "/.env",
    "/%2eenv",
    "/.git/config",
    "/assets/.hidden.js",
    "/app.js.map",
    "/app.js%2emap",
    "/APP.JS.MAP",
    "/index.html/",
    "/index.html%00.png",
    "/plain.js%20",
    "/plain.js.",
    "/pipe.txt",
    "/socket.txt",
    "/device.txt",
    "/assets",
    "/loop.txt",
    "/" + "a" * 300,
    "/" + "a/" * 600 + "x.js",
]


def hostile_folder(tmp_path: Path) -> Path:
    folder = front_end_folder(
        tmp_path / "dist", **{".git/config": SECRET, "assets/.hidden.js": SECRET, "APP.JS.MAP": SECRET}
    )
    (tmp_path / "secret.txt").write_text(SECRET)
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "out-folder").symlink_to(tmp_path)
    (folder / "loop.txt").symlink_to("loop.txt")
    (folder / "device.txt").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "socket.txt"))
    return folder


@pytest.mark.gen_test
async def test_F1_no_path_names_a_file_outside_or_one_that_is_not_to_be_served(tmp_path: Path) -> None:
    folder = hostile_folder(tmp_path)
    async with world(tmp_path / "world", front_ends=desk(folder)) as made:
        host = made.url[7:]
        for path in (*OUTSIDE, *HIDDEN):
            target = f"/desk{path.format(folder=tmp_path)}"
            for accept in ("*/*", "text/html"):
                request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n\r\n"
                response = await ask(made, request.encode())
                assert response is not None
                assert SECRET not in response.text, target
                is_shell = response.text == SHELL and accept == "text/html" and "." not in path.split("/")[-1]
                assert response.status in {400, 404} or is_shell, (target, response.status)


@pytest.mark.gen_test
async def test_F1_source_maps_are_served_where_they_are_wanted(tmp_path: Path) -> None:
    folder = front_end_folder(tmp_path / "dist")
    async with world(tmp_path / "world", front_ends=desk(folder, source_maps=True)) as made:
        assert (await made.browser().fetch(made.at("/desk/app.js.map"))).text == "{}"


@pytest.mark.gen_test
async def test_F1_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    folder = front_end_folder(tmp_path / "dist")
    (folder / "in.js").symlink_to("plain.js")
    async with world(tmp_path / "world", front_ends=desk(folder)) as made:
        assert (await made.browser().fetch(made.at("/desk/in.js"))).status == 200


@pytest.mark.gen_test
async def test_D5_no_file_of_a_front_end_is_opened_in_the_thread_of_the_event_loop(tmp_path: Path) -> None:
    folder = front_end_folder(tmp_path / "dist")
    async with world(tmp_path / "world", front_ends=desk(folder)) as made:
        browser = made.browser()
        with files_opened() as found:
            for path in ("/desk/", "/desk/plain.js", "/desk/large.bin", "/desk/none.js"):
                await browser.fetch(made.at(path), headers={"Accept-Encoding": "gzip, br"})
    assert not found, found


# --- F2


FRONT_END = "front_end: {directory: app}\n"


def test_F2_a_front_end_on_the_shared_origin_is_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, ACME + FRONT_END) == [
        "acme.yaml:6:12: front_end needs hosts: it is served on host names of its own, never on the address "
        "that all tenants share"
    ]
    made = read_tenant(
        write(tmp_path, ACME + FRONT_END + "hosts: [portal.acme.example]\n"), environ=ENVIRON
    ).tenant
    assert made.front_end is not None
    assert made.front_end.directory == tmp_path / "app"


def test_a_folder_without_its_page_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path, ACME + FRONT_END + "hosts: [portal.acme.example]\n")
    (warning,) = [one for one in read_tenant(path, environ=ENVIRON).warnings if "front_end" in one.message]
    assert str(warning) == (
        f"{path}:6:24: front_end.directory has no index.html: until it does, the hosts of this tenant show "
        "an error"
    )
    front_end_folder(tmp_path / "app")
    assert not any("front_end" in one.message for one in read_tenant(path, environ=ENVIRON).warnings)


def test_F2_a_tenant_of_the_database_has_no_front_end() -> None:
    content = "name: A\nissuer: https://login.acme.example\nclient: {id: portal, auth: none}\n"
    content += "hosts: [portal.acme.example]\n"
    read_stored_tenant("acme", content, open_sealed=lambda sealed: sealed)
    with pytest.raises(ConfigurationError) as caught:
        read_stored_tenant("acme", content + FRONT_END, open_sealed=lambda sealed: sealed)
    assert [str(one) for one in caught.value.problems] == [
        "acme:5:12: front_end names a folder of the portal's server: only a tenant file can have it"
    ]


def test_F2_scripts_in_the_text_of_pages_are_for_the_operator_alone(tmp_path: Path) -> None:
    for source in ("'unsafe-inline'", "'unsafe-eval'", "'unsafe-hashes'"):
        csp = f'front_end: {{directory: app, csp: {{script-src: ["{source}"]}}}}\n'
        (problem,) = problems(tmp_path, ACME + "hosts: [portal.acme.example]\n" + csp)
        assert "only front_ends of portal.yaml may do so" in problem


@pytest.mark.gen_test
async def test_F2_the_front_end_of_a_tenant_is_on_no_host_of_another(tmp_path: Path) -> None:
    async with world(tmp_path / "world") as made:
        folder = front_end_folder(made.parts.tenants_folder / "app", **{"index.html": "of Acme"})
        change_tenant(made, "acme", hosts=["portal.acme.example"], front_end={"directory": folder.name})
        change_tenant(made, "globex", hosts=["portal.globex.example"])
        port = made.url.rpartition(":")[2]
        browser = made.browser()
        for host, status in (
            (f"portal.acme.example:{port}", 200),
            (f"portal.globex.example:{port}", 404),
            (f"localhost:{port}", 404),
            (f"other.example:{port}", 404),
        ):
            for path in ("/plain.js", "/app/plain.js", "/orders"):
                response = await browser.fetch(
                    made.at(path), headers={"Host": host, "Accept": "text/html"}, csrf=False
                )
                served = status == 200 and path != "/app/plain.js"
                assert response.status == (200 if served else 404), (host, path)
                assert ("of Acme" in response.text) == (served and path == "/orders")


# --- F5


DEVELOPMENT = "front_ends:\n  desk: {{path: /desk, url: '{}'}}\n"


@pytest.mark.parametrize(
    "public_url",
    [
        "https://portal.example",
        "https://localhost",
        "https://127.0.0.1:8443",
        "https://localhost.portal.example",
    ],
)
def test_F5_a_development_server_at_a_public_address_prevents_start_up(
    tmp_path: Path, public_url: str
) -> None:
    path = tmp_path / "portal.yaml"
    path.write_text(f"public_url: {public_url}\n" + DEVELOPMENT.format("http://localhost:5173"))
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, {})
    (problem,) = caught.value.problems
    assert str(problem) == (
        f"{path}:3:28: front_ends.<name>.url is for development only, with a public_url such as "
        "http://localhost:8080 and a listen such as 127.0.0.1:8080; build the front end and name its folder "
        "as directory"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://192.168.1.10:5173",
        "http://dev.example:5173",
        "http://localhost.dev.example:5173",
        "http://169.254.169.254",
        "http://localhost@dev.example",
        "https://localhost:5173",
        "//localhost:5173",
    ],
)
def test_F5_a_development_server_elsewhere_prevents_start_up(tmp_path: Path, url: str) -> None:
    path = tmp_path / "portal.yaml"
    path.write_text(DEVELOPMENT.format(url))
    with pytest.raises(ConfigurationError, match="the http origin of a server on this machine"):
        load_settings(path, {})


def test_F5_a_public_address_of_the_environment_counts_as_well(tmp_path: Path) -> None:
    path = tmp_path / "portal.yaml"
    path.write_text(DEVELOPMENT.format("http://localhost:5173"))
    assert load_settings(path, {}).front_ends["desk"].url == "http://localhost:5173"
    with pytest.raises(ConfigurationError, match="is for development only"):
        load_settings(path, {"PORTAL_PUBLIC_URL": "https://portal.example"})


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:8080", ":8080", "[::]:8080", "192.168.1.10:8080", "portal.example:80"]
)
def test_F5_a_development_server_is_refused_where_other_machines_reach_the_portal(
    tmp_path: Path, listen: str
) -> None:
    path = tmp_path / "portal.yaml"
    path.write_text(f"listen: '{listen}'\n" + DEVELOPMENT.format("http://localhost:5173"))
    with pytest.raises(ConfigurationError, match=r"a listen such as 127\.0\.0\.1:8080"):
        load_settings(path, {})


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "unix:/run/portal.sock"]
)
def test_F5_a_development_server_is_accepted_on_this_machine(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "portal.yaml"
    path.write_text(f"listen: '{listen}'\n" + DEVELOPMENT.format("http://localhost:5173"))
    assert load_settings(path, {}).front_ends["desk"].url == "http://localhost:5173"

"""Connections to the database, and errors for the operator."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from aperture_dagster.postgres.connection import dagster_database_url, open_engine, product_database_url
from aperture_dagster.postgres.database import read_only
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.databases import run_statements

PASSWORD = "hush-very-secret"


def one_sentence(url: str, call: Callable[..., Any] = open_engine, **more: Any) -> str:
    with pytest.raises(DatabaseError) as raised:
        call(load_settings(database_url=url, **more))
    message = str(raised.value)
    assert "\n" not in message
    assert ".." not in message
    assert PASSWORD not in message
    assert message.endswith(".")
    return message


# What is wrong, in one sentence


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://ann:{PASSWORD}@host/db", f"postgresql://ann:{PASSWORD}@host:port/db", f"ann:{PASSWORD}@host/db",
        f"postgresql://ann:{PASSWORD}@host", f"postgresql://ann:{PASSWORD}@host/", PASSWORD, "postgresql://",
        f"postgresql://ann:p@{PASSWORD}@host/db",
    ],
    ids=range(8),
)  # fmt: skip
def test_the_message_about_an_invalid_url_hides_the_password(url: str):
    for call in (product_database_url, dagster_database_url, open_engine):
        message = one_sentence(url, call)
        assert message.startswith("APERTURE_DATABASE_URL: expected postgresql://")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "no-such-host.invalid"])
def test_an_unreachable_server_is_reported_with_the_reason(host: str):
    for call in (open_engine, dagster_database_url):
        message = one_sentence(f"postgresql://ann:{PASSWORD}@{host}/db", call)
        assert "refused" in message or "resolve" in message
        assert "Check APERTURE_DATABASE_URL" in message


def test_a_user_who_may_not_create_a_database_gets_the_remedy(empty: str, admin: Callable[..., Any]):
    role = f"limited_{uuid.uuid4().hex[:8]}"
    admin(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    try:
        url = make_url(empty).set(username=role, password=PASSWORD).render_as_string(hide_password=False)
        message = one_sentence(url, dagster_database_url)
        assert "may not create the database" in message
        assert f'CREATE DATABASE "{make_url(empty).database}_dagster"' in message
    finally:
        admin(f"DROP ROLE {role}")


def test_a_connection_has_the_time_zone_utc_also_after_a_rollback(database_url: str):
    with open_engine(load_settings(database_url=database_url)).connect() as connection:
        for _ in range(2):
            assert connection.exec_driver_sql("SHOW timezone").scalar_one() == "UTC"
            connection.exec_driver_sql("INSERT INTO facts (name, value) VALUES ('undone', '1')")
            connection.rollback()
            assert not connection.exec_driver_sql("SELECT 1 FROM facts WHERE name = 'undone'").all()


def test_queries_are_not_compiled_whatever_the_server_says(database_url: str):
    settings = load_settings(database_url=database_url)
    with open_engine(settings).connect() as connection:
        # The server of the tests compiles, as servers do unless they are told otherwise.
        assert connection.exec_driver_sql("SELECT reset_val FROM pg_settings WHERE name = 'jit'").scalar() == "on"
        assert connection.exec_driver_sql("SHOW jit").scalar() == "off"
    with read_only(settings) as connection:
        assert connection.exec_driver_sql("SHOW jit").scalar() == "off"


def test_dagsters_database_is_created_beside_the_products(empty: str, admin: Callable[..., Any]):
    settings = load_settings(database_url=empty)
    name = make_url(empty).database
    url = make_url(dagster_database_url(settings))
    assert (url.database, url.drivername) == (f"{name}_dagster", "postgresql+psycopg2")
    assert admin(f"SELECT count(*) FROM pg_database WHERE datname = '{name}_dagster'") == 1
    assert make_url(dagster_database_url(settings)) == url


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_every_usual_form_of_the_url_is_accepted(scheme: str):
    settings = load_settings(database_url=f"{scheme}://ann:p%40ss@host:5/db?sslmode=require")
    product = make_url(product_database_url(settings))
    assert (product.drivername, product.password, product.query["sslmode"]) == ("postgresql+psycopg", "p@ss", "require")


def test_a_database_without_an_encoding_is_refused_with_a_sentence(postgres: str, tmp_path: Path):
    create = "CREATE DATABASE bytes_only ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"
    run_statements(postgres, create)
    try:
        url = make_url(postgres).set(drivername="postgresql", database="bytes_only")
        settings = load_settings(home=tmp_path, database_url=url.render_as_string(hide_password=False))
        for opened in (open_engine, lambda one: read_only(one).__enter__()):
            with pytest.raises(DatabaseError, match=r"'bytes_only' has the encoding SQL_ASCII.* Create another one"):
                opened(settings)
    finally:
        run_statements(postgres, "DROP DATABASE bytes_only WITH (FORCE)")

"""A published specification, and the differences between an exchange and it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema.exceptions import ValidationError
from jsonschema_path import SchemaPath
from openapi_core import V31RequestValidator, V31ResponseValidator
from openapi_core.datatypes import RequestParameters
from openapi_core.templating.paths.exceptions import PathError
from openapi_core.templating.paths.finders import APICallPathFinder
from openapi_core.templating.responses.exceptions import ResponseNotFound
from openapi_core.templating.security.exceptions import SecurityNotFound
from openapi_core.validation.request.exceptions import MissingParameter, ParameterValidationError
from openapi_core.validation.schemas.factories import SchemaValidatorsFactory
from openapi_core.validation.schemas.validators import SchemaValidator
from werkzeug.datastructures import Headers as WerkzeugHeaders
from werkzeug.datastructures import ImmutableMultiDict

from aperture_dagster_tests.contracts.recorder import Exchange


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between an exchange and the specification.

    ``rule`` is the violated JSON schema keyword, ``undeclared`` for an additional field, ``absent`` for a missing one,
    ``unmodelled`` for a value that the schema does not describe, or else the name of openapi-core's error. ``place``
    is the path of the value, with ``*`` for any index.
    """

    exchange: Exchange
    operation: str
    side: str
    rule: str
    place: str = ""
    value: Any = None
    message: str = ""

    def __str__(self) -> str:
        return f"{self.operation} {self.side} {self.place or '-'}: {self.rule}: {self.message[:160]}"


@dataclass
class _Request:
    host_url: str
    path: str
    method: str
    parameters: RequestParameters
    content_type: str
    body: bytes | None


@dataclass
class _Response:
    status_code: int
    headers: WerkzeugHeaders
    content_type: str
    data: bytes | None


class _KeptValidators(SchemaValidatorsFactory):
    """Makes the validator of each schema once; openapi-core makes one for each value."""

    def __init__(self, factory: SchemaValidatorsFactory) -> None:
        self._factory = factory
        self._kept: dict[tuple[Any, ...], SchemaValidator] = {}

    def create(self, spec: SchemaPath, schema: SchemaPath, *args: Any, **options: Any) -> SchemaValidator:
        """Return the validator of a schema. The other arguments are the same in all calls of a specification."""
        key = tuple(schema.parts)
        if key not in self._kept:
            self._kept[key] = self._factory.create(spec, schema, *args, **options)
        return self._kept[key]


class _Requests(V31RequestValidator):
    """Looks at the parameters that a request has; openapi-core takes longest for the dozens that it has not."""

    def _get_parameter(self, parameters: RequestParameters, param: SchemaPath) -> Any:
        name, where = (param / "name").read_str(), (param / "in").read_str()
        if name not in parameters[where] and not (param / "required").read_bool(default=False):
            raise MissingParameter(name, where)
        return super()._get_parameter(parameters, param)


class _KeptPaths(APICallPathFinder):
    """Looks for each path once."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.find = cache(super().find)


class Specification:
    """A service's specification in OpenAPI 3.1.

    It was made from examples, and does not declare which fields are required and that there are no others. All fields
    of its objects are taken as required, and others as forbidden.
    """

    def __init__(self, path: Path) -> None:
        self._content: dict[str, Any] = json.loads(path.read_bytes())
        spec = SchemaPath.from_dict(self._content)
        self._host: str = self._content["servers"][0]["url"]
        self._requests = _Requests(
            spec,
            path_finder_cls=_KeptPaths,
            schema_validators_factory=_KeptValidators(_Requests.schema_validators_factory),
        )
        self._responses = V31ResponseValidator(
            spec,
            path_finder_cls=_KeptPaths,
            schema_validators_factory=_KeptValidators(V31ResponseValidator.schema_validators_factory),
            forbid_unspecified_additional_properties=True,
            enforce_properties_required=True,
        )

    def operation(self, exchange: Exchange) -> tuple[str, dict[str, Any]] | None:
        """Return the operation of a request: ``METHOD /pattern`` and its specification."""
        try:
            found = self._requests.path_finder.find(exchange.method.lower(), self._host + exchange.path)
        except PathError:
            return None
        pattern = found.path_result.pattern
        return f"{exchange.method} {pattern}", self._content["paths"][pattern][exchange.method.lower()]

    def differences(self, exchange: Exchange, sides: Collection[str] = ("request", "answer")) -> Iterator[Difference]:
        """Return the differences between the specification and an exchange, or one of its sides."""
        found = self.operation(exchange)
        if found is None:
            yield Difference(exchange, f"{exchange.method} {exchange.path}", "request", "PathNotFound")
            return
        name, operation = found
        if "request" in sides:
            yield from self._request_differences(exchange, name, operation)
        if "answer" in sides:
            yield from self._answer_differences(exchange, name, operation)

    def _request_differences(self, exchange: Exchange, name: str, operation: dict[str, Any]) -> Iterator[Difference]:
        declared = query_parameters(operation)
        for parameter, value in exchange.query:
            if parameter not in declared:
                yield Difference(exchange, name, "request", "undeclared", f"query.{parameter}", value)
        for error in self._requests.iter_errors(self._request(exchange)):
            place = f"{error.location}.{error.name}" if isinstance(error, ParameterValidationError) else "body"
            yield from _differences(exchange, name, "request", place, error)

    def _answer_differences(self, exchange: Exchange, name: str, operation: dict[str, Any]) -> Iterator[Difference]:
        for error in self._responses.iter_errors(self._request(exchange), _response(exchange)):
            yield from _differences(exchange, name, "answer", "", error)
        declared = operation["responses"].get(str(exchange.status))
        if declared is None:
            return
        if not declared.get("content") and exchange.answer_body:
            yield Difference(exchange, name, "answer", "undeclared body", "", exchange.answer_body)
        schema = declared.get("content", {}).get("application/json", {}).get("schema")
        if schema is not None and exchange.header("content-type").startswith("application/json"):
            for place in sorted(set(self._unmodelled(schema, exchange.json()))):
                yield Difference(exchange, name, "answer", "unmodelled", place)

    def _unmodelled(self, schema: dict[str, Any], value: Any, place: str = "") -> Iterator[str]:
        """Yield places with a value that the schema does not restrict."""
        while (several := schema.get("allOf")) or "$ref" in schema:
            schema = several[0] if several else self._referred(schema["$ref"])
        if value in (None, [], {}):
            return
        if not set(schema) - {"description", "example", "default"}:
            yield place
        elif isinstance(value, list):
            for one in value:
                yield from self._unmodelled(schema.get("items", {}), one, f"{place}.*".lstrip("."))
        elif isinstance(value, dict):
            others = schema.get("additionalProperties")
            properties = schema.get("properties", {})
            if not properties and not others:
                yield place
            for name, one in value.items():
                of_one = properties.get(name, others)
                # Whoever allows any further field means it.
                if isinstance(of_one, dict) and (of_one or name in properties):
                    yield from self._unmodelled(of_one, one, f"{place}.{name}".lstrip("."))

    def _referred(self, reference: str) -> dict[str, Any]:
        found: Any = self._content
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        return found

    def _request(self, exchange: Exchange) -> _Request:
        parameters = RequestParameters(
            query=ImmutableMultiDict(exchange.query),
            header=WerkzeugHeaders(list(exchange.request_headers)),
            cookie=ImmutableMultiDict(),
        )
        content_type = exchange.header("content-type", of="request")
        method, body = exchange.method.lower(), exchange.request_body or None
        return _Request(self._host, exchange.path, method, parameters, content_type, body)


def query_parameters(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the declared query parameters of an operation by name."""
    return {one["name"]: one for one in operation.get("parameters", ()) if one["in"] == "query"}


def _response(exchange: Exchange) -> _Response:
    headers = WerkzeugHeaders(list(exchange.answer_headers))
    return _Response(exchange.status, headers, exchange.header("content-type"), exchange.answer_body or None)


def _differences(exchange: Exchange, operation: str, side: str, place: str, error: Exception) -> Iterator[Difference]:
    cause = error.__cause__ or error
    schema_errors = getattr(cause, "schema_errors", None)
    if schema_errors is None:
        if isinstance(cause, ResponseNotFound):
            place = str(exchange.status)
        elif isinstance(cause, SecurityNotFound):
            place = "header.authorization"
        yield Difference(exchange, operation, side, type(cause).__name__, place, message=str(cause))
        return
    for schema_error in schema_errors:
        yield from _broken(exchange, operation, side, place, schema_error)


def _broken(exchange: Exchange, operation: str, side: str, place: str, error: ValidationError) -> Iterator[Difference]:
    steps = ["*" if isinstance(step, int) else str(step) for step in error.absolute_path]
    where = ".".join(filter(None, [place, *steps]))
    declared = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
    if error.message.startswith("Additional properties are not allowed"):
        content: Any = error.instance
        for extra in sorted(set(content) - set(declared)):
            value = content[extra]
            yield Difference(exchange, operation, side, "undeclared", ".".join(filter(None, [where, extra])), value)
    elif error.message.endswith("is a required property"):
        missing = error.message.split("'")[1]
        yield Difference(exchange, operation, side, "absent", ".".join(filter(None, [where, missing])))
    else:
        rule = f"{error.validator} {error.validator_value}" if error.validator == "format" else str(error.validator)
        yield Difference(exchange, operation, side, rule, where, error.instance, error.message)

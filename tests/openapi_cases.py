"""Requests made from an OpenAPI description: such as it allows, and such as it does not, by a seed."""

import json
import random
import re
from collections.abc import Iterator
from typing import Any

ODD = ("", " ", "\x00", "\ud800", "'; DROP TABLE jobs; --", "../../etc/passwd", "%00", "\u202e", "a" * 5000, "🙂", "null", "-1", "1e999", "\r\nX: y", "s3://b/k.png", "{{7*7}}")
WRONG: tuple[Any, ...] = (None, True, -1, 1.5, 10**40, float("nan"), [], {}, [[[]]], {"a": {}}, *ODD)


class Asking:
    """Requests of a description. numbers: what ids are drawn from, so that some are found."""

    def __init__(self, tree: dict[str, Any], seed: random.Random, numbers: list[int]) -> None:
        self.tree, self.random, self.numbers = tree, seed, numbers

    def requests(self, each: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """So many requests of every operation; half of them with something wrong in it. The webhooks' own senders are left out."""
        for path, ways in self.tree["paths"].items():
            for method, operation in ways.items():
                for number in range(each):
                    yield operation, self._request(path, method, operation, wrong=number % 2 == 1)

    def _request(self, path: str, method: str, operation: dict[str, Any], wrong: bool) -> dict[str, Any]:
        params, headers = [], {}
        for one in operation.get("parameters", []):
            value = self.value(one["schema"], wrong)
            if one["in"] == "path":
                path = path.replace("{" + one["name"] + "}", self._quoted(value))
            elif self.random.random() < 0.6:
                plain = self._plain(value)
                if one["in"] == "query":
                    params.append((one["name"], plain))
                elif plain.isascii() and plain.isprintable() and plain == plain.strip():
                    headers[one["name"]] = plain
        asked: dict[str, Any] = {"method": method.upper(), "url": path, "params": params, "headers": headers}
        content = operation.get("requestBody", {}).get("content")
        if content:
            kind, how = self.random.choice(list(content.items()))
            body = self.value(how["schema"], wrong) if not wrong or self.random.random() < 0.8 else self.random.choice(WRONG)
            asked["content"] = self.random.choice((b"", b"{", b"\xff\xfe", b"[" * 3000)) if wrong and self.random.random() < 0.2 else json.dumps(body).encode()
            headers["Content-Type"] = kind if not wrong or self.random.random() < 0.8 else "text/plain"
        return asked

    def _plain(self, value: Any) -> str:
        return (value if isinstance(value, str) else json.dumps(value)).encode(errors="replace").decode()

    def _quoted(self, value: Any) -> str:
        from urllib.parse import quote

        return quote(self._plain(value), safe="") or "x"

    def value(self, schema: dict[str, Any], wrong: bool = False, depth: int = 0) -> Any:
        """A value that a schema allows, or, where something is to be wrong, mostly."""
        if wrong and self.random.random() < 0.25:
            return self.random.choice(WRONG)
        if "$ref" in schema:
            return self.value(self.tree["components"]["schemas"][schema["$ref"].rpartition("/")[2]], wrong, depth)
        if "anyOf" in schema:
            return self.value(self.random.choice(schema["anyOf"]), wrong, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        return getattr(self, f"_{schema.get('type', 'null')}")(schema, wrong, depth)

    def _null(self, *_: Any) -> None:
        return None

    def _boolean(self, *_: Any) -> bool:
        return self.random.random() < 0.5

    def _integer(self, schema: dict[str, Any], wrong: bool, depth: int) -> int:
        low, high = schema.get("minimum", -5), schema.get("maximum", 5)
        return self.random.choice([n for n in self.numbers if low <= n <= high] or [low, high])

    def _number(self, schema: dict[str, Any], wrong: bool, depth: int) -> float:
        return self.random.uniform(schema.get("minimum", -2.0), schema.get("maximum", 2.0))

    def _string(self, schema: dict[str, Any], wrong: bool, depth: int) -> str:
        if schema.get("format") == "date-time":
            return self.random.choice(("2026-11-26T08:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-26T08:00:00"))
        if "pattern" in schema:
            assert re.fullmatch(schema["pattern"], "a" * 64)
            return self.random.choice(("a" * 64, "0" * 64))
        words = self.random.choice(("", "a", "title-0", "es-ES", "avct", "Mg", "s3://bucket/key.png", "https://10.0.0.1/x", *ODD))
        return words[: schema.get("maxLength", 10**6)].ljust(schema.get("minLength", 0), "x")

    def _array(self, schema: dict[str, Any], wrong: bool, depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.value(item, wrong, depth + 1) for item in schema["prefixItems"]]
        count = self.random.randint(schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)) if depth < 6 else schema.get("minItems", 0)
        return [self.value(schema.get("items", {"type": "string"}), wrong, depth + 1) for _ in range(count)]

    def _object(self, schema: dict[str, Any], wrong: bool, depth: int) -> dict[str, Any]:
        known = schema.get("properties", {})
        chosen = {name: one for name, one in known.items() if name in schema.get("required", ()) or self.random.random() < 0.4}
        made = {name: self.value(one, wrong, depth + 1) for name, one in chosen.items() if not (wrong and self.random.random() < 0.1)}
        return made | ({self.random.choice(ODD): 1} if wrong and self.random.random() < 0.1 else {})

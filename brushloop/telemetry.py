"""Spans and figures for OpenTelemetry, by its conventions for generative AI. Off unless `BRUSHLOOP_TELEMETRY=1`.

    invoke_agent brushloop              a run of the loop over one creation
      chat <model>                      a question to the vision-language model, with its tokens
      generate_content <painter>        a picture

https://opentelemetry.io/docs/specs/semconv/gen-ai/ names the attributes. Where spans go is the affair of the
program around us: the providers it has set are used. Where it set none, those of the SDK are, as the variables
`OTEL_*` say. Words of people and models are recorded only if OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is
true, and pictures never.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version as package_version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from brushloop.errors import BackendError, BrushloopError

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.trace import Tracer

SWITCH = "BRUSHLOOP_TELEMETRY"
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
SCHEMA = "https://opentelemetry.io/schemas/1.37.0"

Value = str | int | float | bool | list[str]


@dataclass
class Told:
    """What an operation tells of itself once it is known; nothing comes of it while telemetry is off."""

    attributes: dict[str, Value] = field(default_factory=dict)

    def tell(self, **said: Value | None) -> None:
        """Add attributes: `gen_ai.` and a dot for each `__`, so `usage__input_tokens` is gen_ai.usage.input_tokens."""
        for name, value in said.items():
            if value is not None:
                self.attributes["gen_ai." + name.replace("__", ".")] = value

    def words(self, name: str, role: str, text: str) -> None:
        """Add what was said, if words may be recorded."""
        if text and on(CONTENT):
            message = [{"role": role, "parts": [{"type": "text", "content": text}]}]
            self.attributes[f"gen_ai.{name}"] = json.dumps(message, ensure_ascii=False)


def on(name: str = SWITCH) -> bool:
    """Whether a switch of the environment is on."""
    return os.environ.get(name, "").strip().lower() in ("1", "true", "on", "yes")


@contextmanager
def operation(name: str, subject: str, own: Mapping[str, Value] | None = None, **said: Value | None) -> Iterator[Told]:
    """A span around a block: `chat`, `generate_content` or `invoke_agent`, and the figures of the first two.

    Args:
        name: the operation, as the conventions name it.
        subject: the model, or the agent.
        own: attributes that the conventions do not know, under `brushloop.`.
        said: attributes known from the start, as for `Told.tell`.

    Raises:
        BackendError: telemetry is on, and its packages are not installed.
    """
    told = Told()
    if not on():
        yield told
        return
    from opentelemetry.trace import SpanKind, Status, StatusCode

    made = _instruments()
    told.tell(operation__name=name, provider__name="brushloop", **said)
    told.attributes |= {f"brushloop.{key}": value for key, value in (own or {}).items()}
    start, failed = time.monotonic(), ""
    with made.tracer.start_as_current_span(
        f"{name} {subject}",
        kind=SpanKind.INTERNAL,
        attributes=told.attributes,
        record_exception=False,  # messages may hold words
        set_status_on_exception=False,
    ) as span:
        try:
            yield told
        except BaseException as error:
            failed = error.code if isinstance(error, BrushloopError) else type(error).__name__.lstrip("_")
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", failed)
            raise
        finally:
            span.set_attributes(told.attributes)
            made.count(told.attributes, time.monotonic() - start, failed)


@dataclass(frozen=True)
class _Instruments:
    tracer: Tracer
    duration: Histogram
    tokens: Histogram

    def count(self, attributes: Mapping[str, Value], seconds: float, failed: str) -> None:
        """Add an operation of a model to the histograms."""
        names = ("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model")
        which = {name: attributes[name] for name in names if name in attributes}
        if "gen_ai.request.model" not in which:
            return
        self.duration.record(seconds, which | ({"error.type": failed} if failed else {}))
        for kind in ("input", "output"):
            count = attributes.get(f"gen_ai.usage.{kind}_tokens")
            if isinstance(count, int):
                self.tokens.record(count, which | {"gen_ai.token.type": kind})


@cache
def _instruments() -> _Instruments:
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise BackendError(f"{SWITCH} is on, and OpenTelemetry is not installed: pip install 'brushloop[telemetry]'")
    from opentelemetry import metrics, trace

    _provide()
    version = package_version("brushloop")
    meter = metrics.get_meter("brushloop", version, schema_url=SCHEMA)
    return _Instruments(
        trace.get_tracer("brushloop", version, schema_url=SCHEMA),
        meter.create_histogram("gen_ai.client.operation.duration", "s", "Duration of an operation of a model."),
        meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens read and written."),
    )


def _provide() -> None:
    """Set providers of the SDK where the program around us has set none."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    here = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "brushloop")})
    if _unset(trace.get_tracer_provider()):
        spans = TracerProvider(resource=here)
        if exporter := _exporter("OTEL_TRACES_EXPORTER", "trace_exporter", "OTLPSpanExporter", "ConsoleSpanExporter"):
            spans.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(spans)
    if _unset(metrics.get_meter_provider()):
        exporter = _exporter("OTEL_METRICS_EXPORTER", "metric_exporter", "OTLPMetricExporter", "ConsoleMetricExporter")
        readers = [PeriodicExportingMetricReader(exporter)] if exporter else []
        metrics.set_meter_provider(MeterProvider(readers, here))


def _unset(provider: object) -> bool:
    """Whether a provider is the stand-in of OpenTelemetry's API, which is there before anybody sets one."""
    return type(provider).__name__ in ("ProxyTracerProvider", "_ProxyMeterProvider")


def _exporter(variable: str, module: str, otlp: str, console: str) -> Any:
    """The exporter that a variable names: otlp (over HTTP), console (stderr), or none."""
    import importlib
    import sys

    match os.environ.get(variable, "otlp").strip().lower():
        case "none":
            return None
        case "console":
            sdk = "opentelemetry.sdk.trace.export" if "Span" in console else "opentelemetry.sdk.metrics.export"
            return getattr(importlib.import_module(sdk), console)(out=sys.stderr)
        case "otlp" | "":
            try:
                return getattr(importlib.import_module(f"opentelemetry.exporter.otlp.proto.http.{module}"), otlp)()
            except ImportError:
                raise BackendError(
                    f"{SWITCH} is on, and its OTLP exporter is not installed: pip install 'brushloop[telemetry]'"
                ) from None
        case other:
            raise BackendError(f"{variable} is {other[:40]!r}: name otlp, console or none")

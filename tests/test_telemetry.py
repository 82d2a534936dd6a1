"""Telemetry: nothing by default, OpenTelemetry's own names when it is on, and no words unless asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from fakes import MODEL, PAINTER, ToyPainter, ToyVLM
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from brushloop import Studio, telemetry
from brushloop.errors import ModelError
from brushloop.telemetry import SWITCH
from brushloop.vlm import Question, Reply

PROMPT = "a cat and a red ball on a beach"
KNOWN = {
    value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_") and isinstance(value, str)
}
SPANS, FIGURES = InMemorySpanExporter(), InMemoryMetricReader()


@pytest.fixture(scope="module", autouse=True)
def provided() -> None:
    spans = TracerProvider()
    spans.add_span_processor(SimpleSpanProcessor(SPANS))
    trace.set_tracer_provider(spans)
    metrics.set_meter_provider(MeterProvider([FIGURES]))


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    monkeypatch.setenv(SWITCH, "1")
    SPANS.clear()
    yield SPANS


def of(spans: InMemorySpanExporter, operation: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.attributes["gen_ai.operation.name"] == operation]  # type: ignore[index]


def test_nothing_is_told_by_default(home: Path) -> None:
    SPANS.clear()
    Studio(ToyPainter(), ToyVLM(), home).paint(PROMPT)
    assert not SPANS.get_finished_spans()


def test_a_creation_is_a_tree_of_spans(home: Path, spans: InMemorySpanExporter) -> None:
    made = Studio(ToyPainter(), ToyVLM(), home).paint(PROMPT, seed=3)
    (agent,) = of(spans, "invoke_agent")
    chats, paints = of(spans, "chat"), of(spans, "generate_content")
    assert (agent.name, agent.parent) == ("invoke_agent brushloop", None)
    assert agent.attributes and agent.attributes["gen_ai.conversation.id"] == made.id
    kinds = [step.kind.value for step in made.steps]
    assert len(chats) == 1 + kinds.count("reflect") and len(paints) == kinds.count("draft") + kinds.count("refine")
    for span in [*chats, *paints]:
        assert span.context.trace_id == agent.context.trace_id and span.parent == agent.context
        told = dict(span.attributes or {})
        assert {name for name in told if not name.startswith("brushloop.")} <= KNOWN, "names of the conventions"
        assert PROMPT not in json.dumps(told) and "cat" not in json.dumps(told), "no words"
    assert {span.name for span in chats} == {f"chat {MODEL.id}"} and paints[0].attributes
    tokens = sum(
        int(dict(span.attributes or {})[f"gen_ai.usage.{kind}_tokens"])
        for span in chats
        for kind in ("input", "output")
    )  # type: ignore[call-overload]
    assert tokens == sum(int(made.store.measurements(digest).get("tokens", 0)) for digest in made.hashes)
    assert paints[0].attributes["gen_ai.request.model"] == PAINTER.id
    assert paints[0].attributes["brushloop.width"] == 40


def test_figures_are_counted_by_model(home: Path, spans: InMemorySpanExporter) -> None:
    Studio(ToyPainter(), ToyVLM(), home).paint(PROMPT)
    data = FIGURES.get_metrics_data()
    assert data
    found = {metric.name: metric for part in data.resource_metrics[0].scope_metrics for metric in part.metrics}
    assert {metric.unit for metric in found.values()} == {"s", "{token}"}
    models = {
        point.attributes["gen_ai.request.model"] for point in found["gen_ai.client.operation.duration"].data.data_points
    }
    assert models == {MODEL.id, PAINTER.id}
    kinds = {point.attributes["gen_ai.token.type"] for point in found["gen_ai.client.token.usage"].data.data_points}
    assert kinds == {"input", "output"}


def test_words_are_told_only_when_asked_for(
    home: Path, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(telemetry.CONTENT, "true")
    Studio(ToyPainter(), ToyVLM(), home).paint(PROMPT)
    chat = dict(of(spans, "chat")[0].attributes or {})
    (message,) = json.loads(str(chat["gen_ai.input.messages"]))
    assert message["role"] == "user" and PROMPT in message["parts"][0]["content"]
    assert "beach" in json.loads(str(chat["gen_ai.output.messages"]))[0]["parts"][0]["content"]


def test_a_failure_is_told_by_its_code_alone(home: Path, spans: InMemorySpanExporter) -> None:
    class Broken(ToyVLM):
        def ask(self, question: Question) -> Reply:
            raise ModelError(f"cannot answer {question.text}")

    with pytest.raises(ModelError):
        Studio(ToyPainter(), Broken(), home).paint(PROMPT)
    for span in spans.get_finished_spans():
        assert span.attributes and span.attributes["error.type"] == "model" and not span.status.is_ok
        assert not span.events and span.status.description is None, "a message may hold words"
    assert len(spans.get_finished_spans()) == 2


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from fakes import ToyPainter, ToyVLM
from brushloop import Studio
Studio(ToyPainter(), ToyVLM()).paint("a cat and a red ball on a beach")
from brushloop import telemetry
print(telemetry._instruments.cache_info().currsize)
"""


@pytest.mark.parametrize(
    ("environment", "said", "told"),
    [
        ({}, "0", ""),
        ({SWITCH: "1", "OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none"}, "1", "chat toy-vlm"),
        ({SWITCH: "1", "OTEL_TRACES_EXPORTER": "smoke"}, "", "name otlp, console or none"),
    ],
)  # fmt: skip
def test_where_it_goes_is_said_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str, told: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT / "tests")], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.stdout.strip() == said and told in done.stderr
    assert told or "chat" not in done.stderr

"""Tests about tests: every module has one that is about it, and every function in a test file counts."""

import ast
from pathlib import Path

import pytest

from tests.harness import ROOT

ELSEWHERE = {
    # These decide nothing of their own, or are shown by tests that are about more than one module.
    "entitlements/service/history_document.py": "tests/service/test_entity_history.py",
    "entitlements/fallback_versions.py": "tests/doors/test_stored_rules.py",
    "entitlements/model_fields.py": "tests/doors/test_stored_rules.py",
    "entitlements/override_row.py": "tests/doors/test_overrides.py",
    "entitlements/admin/navigation.py": "tests/admin/test_site.py",
    "entitlements/admin/urls.py": "tests/admin/test_site.py",
    "entitlements/admin/users.py": "tests/admin/test_access.py",
    "entitlements/apps.py": "tests/doors/test_leaves.py",
    "entitlements/checks.py": "tests/doors/test_leaves.py",
    "entitlements/clock.py": "tests/doors/test_leaves.py",
    "sidecar_project/demo_redis.py": "tests/project/test_demo_fleet.py",
    "entitlements/composition/optional_states.py": "tests/composition/test_states.py",
    "entitlements/composition/building.py": "tests/project/test_main_job.py",
    "entitlements/upstream/network.py": "tests/upstream/test_transport.py",
    "entitlements/composition/cloud.py": "tests/project/test_main_job.py",
    "entitlements/composition/outbox.py": "tests/project/test_outbox.py",
    "entitlements/composition/process.py": "tests/project/test_main_job.py",
    "entitlements/composition/shared_redis.py": "tests/project/test_shared_redis.py",
    "entitlements/composition/meanings.py": "tests/composition/test_states.py",
    "entitlements/config/derived_urls.py": "tests/config/test_variables.py",
    "entitlements/config/value_types.py": "tests/config/test_bounds.py",
    "entitlements/cache/sieve.py": "tests/cache/test_memory.py",
    "entitlements/deferred_metrics.py": "tests/doors/test_leaves.py",
    "entitlements/upstream/feed_connection.py": "tests/upstream/test_feed.py",
    "grpc_service/engines/queue_calls.py": "tests/grpc_service/test_server.py",
    "grpc_service/translation/entitlements.py": "tests/grpc_service/test_responses.py",
    "entitlements/frame_channel.py": "tests/doors/test_consumers.py",
    "entitlements/service/outbox_batches.py": "tests/service/test_outbox_dispatcher.py",
    "entitlements/service/source_chain.py": "tests/service/test_fetcher.py",
    "entitlements/service/flight.py": "tests/service/test_fetcher.py",
    "entitlements/consumers.py": "tests/doors/test_consumers.py",
    "entitlements/feed_group.py": "tests/doors/test_feed_group.py",
    "entitlements/cache/redis_writing.py": "tests/cache/test_redis.py",
    "entitlements/redis/credentials.py": "tests/composition/test_rotation.py",
    "entitlements/secret_file.py": "tests/service/test_secret_rotation.py",
    "entitlements/upstream/identity.py": "tests/composition/test_rotation.py",
    "entitlements/metrics.py": "tests/doors/test_leaves.py",
    "entitlements/rate_limited_log.py": "tests/doors/test_leaves.py",
    "entitlements/service/feed_trust.py": "tests/service/test_invalidation.py",
    "entitlements/service/answers.py": "tests/service/test_reader.py",
    "entitlements/service/resting.py": "tests/service/test_circuits.py",
    "entitlements/service/resting_writes.py": "tests/service/test_refusals.py",
    "entitlements/redis/factories.py": "tests/redis/test_sentinel.py",
    "entitlements/redis/lease_scripts.py": "tests/redis/test_scripts.py",
    "entitlements/redis/nodes.py": "tests/redis/test_cluster.py",
    "entitlements/redis/scanning.py": "tests/redis/test_cluster.py",
    "entitlements/redis/stoppable_thread.py": "tests/redis/test_notifications.py",
    "entitlements/outbox/redis_scripts.py": "tests/outbox/test_redis_stream.py",
    "grpc_service/causes.py": "tests/grpc_service/test_call_limiter.py",
    "grpc_service/apps.py": "tests/grpc_service/test_server.py",
    "grpc_service/ids.py": "tests/grpc_service/test_decision_log.py",
    "entitlements/service/recorder.py": "tests/grpc_service/test_record.py",
    "grpc_service/tap.py": "tests/grpc_service/test_record.py",
    "grpc_service/reads.py": "tests/grpc_service/test_shadow.py",
    "grpc_service/health.py": "tests/wire/test_grpclib.py",
    "grpc_service/methods.py": "tests/grpc_service/test_server.py",
    "grpc_service/reflection.py": "tests/wire/test_grpclib.py",
    "grpc_service/tracing.py": "tests/project/test_otlp.py",
    "sidecar_project/tracing.py": "tests/project/test_otlp.py",
    "sidecar_project/tracing_wanted.py": "tests/project/test_otlp.py",
    "grpc_service/interceptors.py": "tests/grpc_service/test_server.py",
    "grpc_service/engines/aio.py": "tests/grpc_service/test_server.py",
    "grpc_service/engines/interface.py": "tests/grpc_service/test_server.py",
    "http_service/messages.py": "tests/http_service/test_connect.py",
    "http_service/app.py": "tests/http_service/test_bounds.py",
    "http_service/server.py": "tests/http_service/test_bounds.py",
    "sidecar_project/admin_settings.py": "tests/admin/test_access.py",
    "sidecar_project/apps.py": "tests/project/test_main_job.py",
    "sidecar_project/asgi.py": "tests/project/test_main_job.py",
    "sidecar_project/middlewares.py": "tests/project/test_shadow.py",
    "sidecar_project/urls.py": "tests/admin/test_access.py",
    "sidecar_project/command.py": "tests/project/test_installed.py",
    "sidecar_project/serving.py": "tests/project/test_main_job.py",
}
PACKAGES = ("entitlements", "grpc_service", "http_service", "sidecar_project")
LEFT_OUT = {"generated", "proto", "management", "migrations"}


def modules() -> list[str]:
    found = []
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).parts
            if file.name != "__init__.py" and not LEFT_OUT & set(parts):
                found.append("/".join(parts))
    return sorted(found)


def test_every_module_has_its_test_file() -> None:
    """Of its own name or its folder's, or the one that `ELSEWHERE` names."""
    names = {path.name for path in _test_files()}

    assert [] == [module for module in modules() if not _is_tested(ROOT / module, names)]
    assert [] == [file for file in ELSEWHERE.values() if not (ROOT / file).exists()]


def _is_tested(file: Path, names: set[str]) -> bool:
    own = {f"test_{file.stem}.py", f"test_{file.parent.name}.py"}
    return str(file.relative_to(ROOT)) in ELSEWHERE or bool(own & names)


def _test_files() -> list[Path]:
    return sorted((ROOT / "tests").rglob("test_*.py"))


def test_every_function_of_a_test_file_is_a_test_a_fixture_or_used_here() -> None:
    """A test whose name lost its prefix would never run, and nobody would notice."""
    never_run = {str(file.relative_to(ROOT)): _never_run(file) for file in _test_files()}

    assert {} == {file: names for file, names in never_run.items() if names}


def _never_run(file: Path) -> list[str]:
    tree = ast.parse(file.read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    helpers = [each for each in functions if not each.name.startswith("test_") and not _is_fixture(each)]
    names_used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} if helpers else set()
    unused = [each.name for each in helpers if each.name not in names_used]
    others = [path.read_text() for path in file.parent.glob("*.py") if path != file] if unused else []
    return [name for name in unused if not any(f" {name}" in text for text in others)]


def _is_fixture(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)


MAX_LINES = 300
"""A longer module is two."""


@pytest.mark.parametrize("package", [*PACKAGES, "emulator"])
def test_no_module_is_too_long(package: str) -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text().splitlines())
        for file in (ROOT / package).rglob("*.py")
        if "generated" not in file.parts
    }

    assert {} == {name: length for name, length in lengths.items() if length > MAX_LINES}


TASKS_BEGIN_IN = {
    "entitlements/background.py",
    "grpc_service/engines/queue_calls.py",  # the engine counts its calls, ends them, answers their defects
}
"""Elsewhere a task would have no parent, and could end in silence."""


def test_tasks_begin_in_one_place() -> None:
    starting = {
        module
        for module in _all_modules()
        for node in ast.walk(ast.parse((ROOT / module).read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"create_task", "ensure_future"}
    }

    assert TASKS_BEGIN_IN == starting


def _all_modules() -> list[str]:
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "generated" not in file.parts]

"""Fixtures: gateways with 1, 2 and 4 shards, and their logs in the report of a failed test."""

import os
import resource

import pytest

import gateway


# scripts/test has said so already, and has failed where they must not be absent.
collect_ignore = [] if "STRAIT_ACCEPTANCE" in os.environ else ["test_acceptance.py"]


def pytest_configure():
    # Thousands of connections have two ends, and ours is in this process.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if not gateway.BINARY.exists():
        raise pytest.UsageError(f"{gateway.BINARY} is missing: cargo build --release")


@pytest.fixture(scope="module", params=[1, 2, 4], ids=["1core", "2cores", "4cores"])
def cores(request):
    return request.param


@pytest.fixture(scope="module")
def shared_strait(cores):
    """One gateway for the tests of a file, which keep apart by their topics."""
    strait = gateway.Strait(cores)
    yield strait
    if strait in gateway.running:
        strait.stop()


@pytest.fixture
def strait(shared_strait):
    yield shared_strait
    shared_strait.assert_healthy()


def starter():
    started = []

    def start(*args, **kwargs):
        started.append(gateway.Strait(*args, **kwargs))
        return started[-1]

    yield start
    try:
        for strait in started:
            if strait in gateway.running:
                strait.stop()
    finally:
        for strait in started:
            strait.kill()


@pytest.fixture
def start_strait():
    """Starts gateways that this test alone uses; those still running at its end are stopped."""
    yield from starter()


@pytest.fixture(scope="module")
def start_module_strait():
    yield from starter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for strait in gateway.running:
            report.sections.append((f"log of the gateway with {strait.cores} cores", strait.log_tail()))
    return report

"""Products by weights that are made ready are torch's, whichever library makes them, for any number of rows."""

import platform

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser.runtime import products
from ser.runtime.processors import is_intel

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="made for these processors")
by_mkl = pytest.mark.skipif(not products._mkl_packs(256, 256), reason="MKL packs on Intel's processors")


@pytest.mark.parametrize("library", [pytest.param("MKL", marks=by_mkl), "oneDNN"])
@settings(max_examples=40, deadline=None)
@given(rows=st.integers(0, 700), heard=st.integers(1, 300), out=st.integers(1, 300), bias=st.booleans())
def test_a_product_is_torchs(library, rows, heard, out, bias):
    draw = torch.Generator().manual_seed(rows)
    states, weight = torch.randn(rows, heard, generator=draw), torch.randn(out, heard, generator=draw)
    added = torch.randn(out, generator=draw) if bias else None
    right = torch.nn.functional.linear(states.double(), weight.double(), None if added is None else added.double()).float()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_mkl_packs", lambda *_: library == "MKL")
        multiply = products.packed_product(weight, added, torch.float32)
        torch.testing.assert_close(multiply(states), right, atol=1e-4, rtol=1e-4)


@by_mkl
@pytest.mark.parametrize(("out", "heard"), [(768, 768), (2304, 768), (3072, 768), (768, 3072), (1024, 4096), (512, 1024)])
def test_mkls_order_of_weights_is_the_same_for_any_number_of_rows(out, heard):
    """What MKL doesn't promise: with the order for 512 rows the very bytes that the order for this number of rows gives."""
    weight, states = torch.randn(out, heard), torch.randn(1100, heard)
    multiply, ops = products._by_mkl(weight, None), torch.ops.mkl
    for rows in (products.FEW, 17, 40, 64, 136, 333, 512, 1100):
        own = ops._mkl_linear(states[:rows], ops._mkl_reorder_linear_weight(weight, rows), weight, None, rows)
        assert torch.equal(multiply(states[:rows]), own)


@pytest.mark.parametrize(("told", "intel"), [("vendor_id\t: GenuineIntel\n", True), ("vendor_id\t: AuthenticAMD\n", False)])
def test_who_made_the_processor(told, intel, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr("ser.runtime.processors._TOLD_BY_LINUX", tmp_path / "cpuinfo")
    assert is_intel.__wrapped__() is intel


def test_where_nothing_tells_it_is_not_intels(tmp_path, monkeypatch):
    monkeypatch.setattr("ser.runtime.processors._TOLD_BY_LINUX", tmp_path / "nothing")
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert is_intel.__wrapped__() is False

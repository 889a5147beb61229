"""The digest of a model: it changes with every file that the model consists of."""

import pytest

from rfdn_plugin.utils.files import model_digest, sha256


@pytest.mark.parametrize('suffix', ['.param', '.xml'])
def test_the_values_beside_an_exported_model_belong_to_it(tmp_path, suffix):
    model, values = tmp_path / f'x{suffix}', tmp_path / 'x.bin'
    model.write_text('the same layers')
    digests = []
    for content in (b'old weights', b'new weights'):
        values.write_bytes(content)
        digests.append(model_digest(model))
    assert len({*digests, sha256(model)}) == 3


@pytest.mark.parametrize('suffix', ['.onnx', '.safetensors'])
def test_a_model_of_one_file_is_that_file(tmp_path, suffix):
    model = tmp_path / f'x{suffix}'
    model.write_bytes(b'weights')
    (tmp_path / 'x.bin').write_bytes(b'of another model')
    assert model_digest(model) == sha256(model)

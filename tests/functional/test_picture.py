import torch

from eyehand.functional.picture import scale_image


def test_pictures_keep_their_channels_last_in_memory() -> None:
    image = torch.randint(0, 256, (2, 6, 8, 3), dtype=torch.uint8)
    got = scale_image(image)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert got.dtype == torch.float32
    torch.testing.assert_close((got.permute(0, 2, 3, 1) + 1) * 127.5, image.float())


def test_under_autocast_pictures_come_in_its_type() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert scale_image(torch.zeros(1, 2, 2, 3, dtype=torch.uint8)).dtype == torch.bfloat16

from helpers.data import make_settings

from fedxray.training.place import place_of


def test_a_machine_is_known_by_what_decides_the_last_bits():
    device, machine = place_of(make_settings())
    assert device == "cpu"
    assert set(machine) == {"system", "processor", "cores", "GPU", "Python", "PyTorch"}
    assert all(machine.values())

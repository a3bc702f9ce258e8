"""The hooks of a gate run: what pytest collects, parametrises, shows and writes while the gate is on."""

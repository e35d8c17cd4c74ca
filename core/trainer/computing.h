// How threads compute.
#pragma once

namespace modelpress::trainer {

// To be called on every thread that computes, the first time before any other does. Neither libtorch nor OpenBLAS start
// threads of their own: results do not depend on how many there are, and several trainers on a busy machine do not wait
// for each other's (OpenBLAS's spin). Denormal numbers, which training is full of, are taken for 0: they would halve the
// speed.
void SetUpComputing();

}  // namespace modelpress::trainer

// Any bytes as a pickle: read or refused, never executed, never past their end.
#include "core/formats/pytorch/pickle.h"

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace modelpress;
  const auto pickle = pytorch::ReadPickle(std::as_bytes(std::span(data, size)));
  if (!pickle.ok()) return 0;
  // Every number that a value has is one of the pickle's.
  const auto is_value = [&](int index) {
    return index >= 0 && static_cast<size_t>(index) < pickle->values.size();
  };
  bool holds = is_value(pickle->root);
  for (const pytorch::PickleValue& value : pickle->values) {
    for (const int item : value.items) holds &= is_value(item);
    if (value.tensor >= 0) holds &= static_cast<size_t>(value.tensor) < pickle->tensors.size();
  }
  if (!holds) __builtin_trap();
  return 0;
}

// NumPy's array file format, .npy versions 1.0 to 3.0 (numpy.lib.format).
//
// Reading is lazy: the header is parsed, elements stay where they are, and rows are converted as they are asked for. So an
// array larger than memory costs one batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/tensor.h"

namespace modelpress {

// Bytes and what keeps them alive.
struct SharedBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
};

// A parsed array. Immutable, thread-safe, cheap to copy (shares the bytes).
struct NpyArray {
  enum class Element {
    kNumber,   // numbers and bool, of `type`
    kBytes,    // S: fixed width, padded with NUL
    kUnicode,  // U: fixed width UCS-4, padded with NUL
  };

  Element element = Element::kNumber;
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;
  bool fortran_order = false;
  bool big_endian = false;
  // Bytes of one element in the file; at least 1.
  uint64_t item_size = 0;
  // Exactly the elements.
  SharedBytes data;

  // Errors are DATA_INVALID and say what is wrong with the file: pickled objects and structured types are refused, and so
  // is any length that is not exactly the shape's.
  static absl::StatusOr<NpyArray> Parse(SharedBytes file);

  // Rows [first, first + count) along axis 0 (the array must have one), row-major and little-endian; the result has dims
  // [count, dims[1], ...]. It refers into `data` where that has this form and is aligned, else it owns a copy.
  absl::StatusOr<Tensor> Rows(uint64_t first, uint64_t count) const;
  // The whole array, also of rank 0.
  absl::StatusOr<Tensor> All() const;
};

// A whole array at once: NpyArray::Parse and All. The result refers into `bytes` (kept alive by `owner`) where it can.
absl::StatusOr<Tensor> ReadNpy(std::span<const std::byte> bytes, std::shared_ptr<const void> owner);

// Writes one (tests, `modelpress verify --save`). Types that NumPy does not have are widened exactly: bfloat16 and the
// 8- and 4-bit floats to float32, 4-bit integers to 8 bits.
std::string WriteNpy(const Tensor& tensor);

}  // namespace modelpress

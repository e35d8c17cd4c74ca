// Samples: what is fed to a model to judge or calibrate it. Streamed: memory is one batch.
//
// Sources, all read by the same reader (a folder, or a ZIP with the same content: a data set sent to a server is one
// stored ZIP):
//   SPLIT/<input>.npy [+ SPLIT/labels.npy]     one array per input
//   SPLIT.npz                                  the same arrays in one file (labels under "labels")
//   SPLIT/<input>/00000.npy ...                one file per sample (ragged sizes), labels.npy or labels/00000.npy
//   the same without SPLIT/                    a data set without splits
// Splits are calib, train, unlabeled, val, test. An array with the rank of the model's input holds samples along axis 0
// and is fed in batches; with one rank more, sample i is a[i] exactly as fed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/scratch.h"
#include "core/model/tensor.h"
#include "core/runtime/session.h"

namespace modelpress {

// One feed: the values of every input, and the labels of the samples in it if there are labels.
struct Batch {
  TensorMap inputs;
  // Integer or float tensor whose axis 0 has `samples` entries; absent without labels.
  std::optional<Tensor> labels;
  // How many samples, and the index of the first one.
  uint64_t samples = 0;
  uint64_t first = 0;
};

class Samples {
 public:
  virtual ~Samples() = default;
  // Number of samples, and of feeds.
  virtual uint64_t size() const = 0;
  virtual uint64_t batches() const = 0;
  // Feed i. DATA_INVALID / DATA_NOT_FINITE name input, sample, expected and found. Thread-safe.
  virtual absl::StatusOr<Batch> Read(uint64_t index) const = 0;
  virtual bool has_labels() const = 0;
  // "test split of the caller's data", "synthetic": for reports.
  virtual std::string description() const = 0;
  virtual bool synthetic() const { return false; }
};

// A folder or ZIP file of samples.
class DataSet {
 public:
  // `path`: folder or ZIP. Arrays are mapped where the file allows (stored entries, plain files). DATA_INVALID for
  // anything malformed, including entries with absolute or ".." names and compressed entries that would expand to more
  // than the scratch folder's quota.
  static absl::StatusOr<std::unique_ptr<DataSet>> Open(const std::string& path, Scratch* scratch);
  virtual ~DataSet() = default;

  virtual bool HasSplit(std::string_view split) const = 0;
  // The split named, or the whole data set if it has no splits; else the first of `fallbacks` that exists. Validated
  // against `inputs`. `batch_size` applies where samples lie on axis 0 and the model's axis 0 is free; a fixed extent
  // wins. `max_samples` 0: all.
  virtual absl::StatusOr<std::unique_ptr<Samples>> Split(std::string_view split,
                                                         const std::vector<std::string>& fallbacks,
                                                         const std::vector<ValueInfo>& inputs, uint64_t batch_size,
                                                         uint64_t max_samples) const = 0;
};

// Seeded samples for a model without data: standard normal floats; integers within the range that their use allows
// (indices of Gather within its table, masks 0/1); free extents 1, or 8 for the first free one after the batch that
// looks like a sequence. The same model and seed give the same samples everywhere.
absl::StatusOr<std::unique_ptr<Samples>> MakeSyntheticSamples(const Model& model, uint64_t count, uint64_t seed);

// Reads an .npy array (NumPy format 1.0 to 3.0) from bytes. C or Fortran order (the latter is transposed into memory),
// little- or big-endian, numbers, bool and fixed-width strings (S, U). Pickled objects are refused. The result refers
// into `bytes` (kept alive by `owner`) where it can.
absl::StatusOr<Tensor> ReadNpy(std::span<const std::byte> bytes, std::shared_ptr<const void> owner);
// Writes one (tests, `modelpress verify --save`).
std::string WriteNpy(const Tensor& tensor);

}  // namespace modelpress

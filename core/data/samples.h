// Samples: what is fed to a model to judge or calibrate it. Streamed: memory is one batch.
//
// Sources, all read by the same reader (a folder, or a ZIP with the same content: a data set sent to a server is one
// stored ZIP):
//   SPLIT/<input>.npy [+ SPLIT/labels.npy]     one array per input
//   SPLIT.npz                                  the same arrays in one file (labels under "labels")
//   SPLIT/<input>/00000.npy ...                one file per sample (ragged sizes), labels.npy or labels/00000.npy
//   the same without SPLIT/                    a data set without splits
// Splits are calib, train, unlabeled, val, test. An array with the rank of the model's input holds samples along axis 0
// and is fed in batches; with one rank more, sample i is a[i] exactly as fed (then every input is fed sample by sample).
// A file of one sample holds it exactly as fed. An array of rank 0 for a scalar input is fed every time. Every array of a
// split must belong to an input or be the labels; types are never cast.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/scratch.h"
#include "core/data/npy.h"
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
  // `path`: folder, ZIP or .npz. Arrays are mapped where the file allows (stored entries, plain files). DATA_INVALID for
  // anything malformed, including entries with absolute or ".." names; SCRATCH_FULL for compressed entries that expand to
  // more than the scratch folder's quota. `scratch` outlives the data set and everything made from it.
  static absl::StatusOr<std::unique_ptr<DataSet>> Open(const std::string& path, Scratch* scratch);
  virtual ~DataSet() = default;

  // False for a data set without splits.
  virtual bool HasSplit(std::string_view split) const = 0;
  // The split named, or the whole data set if it has no splits; else the first of `fallbacks` that exists; else
  // DATA_MISSING. Validated against `inputs`. `batch_size` applies where samples lie on axis 0 and the model's axis 0 is
  // free; a fixed extent wins, and the number of samples must then be a multiple of it. `max_samples` 0: all.
  virtual absl::StatusOr<std::unique_ptr<Samples>> Split(std::string_view split,
                                                         const std::vector<std::string>& fallbacks,
                                                         const std::vector<ValueInfo>& inputs,
                                                         uint64_t batch_size,
                                                         uint64_t max_samples) const = 0;
};

// Seeded samples for a model without data, one a feed: standard normal floats; integers within the range that their use
// allows (indices of Gather within its table, OneHot's depth, masks 0/1, scalars that are compared with a constant);
// words for strings. Free extents are 1 for the batch, 64 for images, 576 for raw signals, else 8 for the first and 1
// for the others; equal symbols get equal extents. The same model and seed give the same samples everywhere.
// DATA_INVALID for inputs that are no tensors, of complex, 4- and 8-bit floating-point and 4-bit types, or above 1 GiB.
absl::StatusOr<std::unique_ptr<Samples>> MakeSyntheticSamples(const Model& model, uint64_t count,
                                                              uint64_t seed);

}  // namespace modelpress

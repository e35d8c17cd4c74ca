// Running a model. This folder is the only place that knows ONNX Runtime.
//
// A session reads weights straight from their mapped files: it is made from the skeleton's bytes with every weight as
// external data at /proc/self/fd/N, and prepacking off, so that it costs no anonymous memory per weight byte
// (measured: 1 GB of weights, about 1 MB). External-data entries that reach the runtime are always written here, never
// copied from an upload: the runtime follows paths and takes */_ORT_MEM_ADDR_/* for an address.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/base/cancellation.h"
#include "core/model/model.h"
#include "core/model/tensor.h"
#include "core/model/value_key.h"

namespace modelpress {

// Sees a tapped value: the number of the tap, and the value itself, which lives no longer than the call. Called on the
// thread that runs the session, in the order in which values are made; once for each turn of a loop, and not at all
// where control flow does not come by. Must not throw.
using TapObserver = std::function<void(size_t tap, const Tensor& value)>;

struct SessionOptions {
  int threads = 1;
  // Weights are copied and laid out for speed: faster runs, as much anonymous memory as the weights. Off by default.
  bool prepack = false;
  // Graph optimizations of the runtime; off gives the plain operators' numbers.
  bool optimize = true;
  // Float values of any graph to be seen while the model runs, and who sees them. Taps keep the runtime from fusing
  // operators across them. DATA_INVALID for a value that its graph neither makes nor has as an input.
  std::vector<ValueKey> taps;
  TapObserver observer;
  // For profile.h only: where the runtime writes its profile (file name's beginning), and its optimized graph (weights in
  // a second file beside it). Empty: neither.
  std::string profile_prefix;
  std::string optimized_model_path;
};

// An input or output as the model declares it. Extents < 0 are free; `symbols` has their names ("" if none).
struct ValueInfo {
  std::string name;
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;
  std::vector<std::string> symbols;
  // False for sequences, maps, optionals: such values cannot be fed or compared.
  bool is_tensor = true;
};

// Values by name.
using TensorMap = absl::flat_hash_map<std::string, Tensor>;

class Session {
 public:
  // The model must outlive nothing: weights are kept alive by the session. Errors: OP_UNSUPPORTED, OPSET_UNSUPPORTED,
  // MODEL_MALFORMED (the runtime's message inside) if the model does not load.
  static absl::StatusOr<std::unique_ptr<Session>> Create(const Model& model,
                                                         const SessionOptions& options);
  ~Session();

  // Inputs without an initializer behind them, in order; outputs in order.
  const std::vector<ValueInfo>& inputs() const;
  const std::vector<ValueInfo>& outputs() const;

  // Feeds every input, returns every output. Missing or unknown inputs are DATA_INVALID; a failing kernel is
  // RUNTIME_FAILED. Results own their bytes. Thread-safe.
  absl::StatusOr<TensorMap> Run(const TensorMap& inputs) const;

  // Ends the profile that profile_prefix began; the path of its file.
  absl::StatusOr<std::string> EndProfiling();

 private:
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Version string of the runtime ("1.21.0"), and the newest default-domain opset and IR version it executes.
std::string RuntimeVersion();
int64_t RuntimeMaxOpset();
int64_t RuntimeMaxIrVersion();

// Inputs and outputs as the skeleton declares them, without a session (initializers excluded from inputs).
std::vector<ValueInfo> DeclaredInputs(const Model& model);
std::vector<ValueInfo> DeclaredOutputs(const Model& model);

}  // namespace modelpress

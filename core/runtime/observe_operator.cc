// The operator behind a session's taps; see observe_operator.h.
#include "core/runtime/observe_operator.h"

#include <onnxruntime_cxx_api.h>

#include <cstring>

namespace modelpress {
namespace {

struct Kernel {
  const TapObserver* observer;
  size_t tap;

  void Compute(OrtKernelContext* raw) {
    Ort::KernelContext context(raw);
    const Ort::ConstValue value = context.GetInput(0);
    const auto info = value.GetTensorTypeAndShapeInfo();
    Tensor view;
    view.type = DataType::kFloat;
    view.dims = info.GetShape();
    view.bytes = {reinterpret_cast<const std::byte*>(value.GetTensorData<float>()),
                  info.GetElementCount() * sizeof(float)};
    (*observer)(tap, view);
    // The output is the input's own buffer by the alias map, but for outputs of graphs.
    auto* output = context.GetOutput(0, view.dims).GetTensorMutableData<float>();
    if (!view.bytes.empty() && reinterpret_cast<std::byte*>(output) != view.bytes.data()) {
      std::memcpy(output, view.bytes.data(), view.bytes.size());
    }
  }
};

struct ObserveOperator : Ort::CustomOpBase<ObserveOperator, Kernel> {
  explicit ObserveOperator(const TapObserver* to) : observer(to) {
    OrtCustomOp::GetAliasMap = [](int** inputs, int** outputs) -> size_t {
      *inputs = new int[1]{0};
      *outputs = new int[1]{0};
      return 1;
    };
    OrtCustomOp::ReleaseAliasMap = [](int* inputs, int* outputs) {
      delete[] inputs;
      delete[] outputs;
    };
  }

  void* CreateKernel(const OrtApi&, const OrtKernelInfo* raw) const {
    const Ort::ConstKernelInfo info(raw);
    const auto tap = info.GetAttribute<int64_t>(std::string(kTapAttribute).c_str());
    return new Kernel{observer, static_cast<size_t>(tap)};
  }
  const char* GetName() const { return kObserveType.data(); }
  size_t GetInputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(size_t) const {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(size_t) const {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

  const TapObserver* observer;
};

// The domain refers to its operator.
struct Bound {
  explicit Bound(const TapObserver& observer) : observe(&observer), domain(kObserveDomain.data()) {
    domain.Add(&observe);
  }
  ObserveOperator observe;
  Ort::CustomOpDomain domain;
};

}  // namespace

std::shared_ptr<Ort::CustomOpDomain> MakeObserveDomain(const TapObserver& observer) {
  auto bound = std::make_shared<Bound>(observer);
  return {bound, &bound->domain};
}

}  // namespace modelpress

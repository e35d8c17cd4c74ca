// SessionOptions as the runtime's own: see session_options.h.
#include "core/runtime/session_options.h"

#include <onnxruntime_cxx_api.h>
#include <onnxruntime_session_options_config_keys.h>

#include "core/runtime/session.h"

namespace modelpress {

Ort::SessionOptions MakeRuntimeOptions(const SessionOptions& options) {
  Ort::SessionOptions result;
  result.SetIntraOpNumThreads(options.threads);
  result.SetInterOpNumThreads(1);
  result.AddConfigEntry(kOrtSessionOptionsConfigAllowIntraOpSpinning, "0");
  result.AddConfigEntry(kOrtSessionOptionsConfigAllowInterOpSpinning, "0");
  result.AddConfigEntry("session.model_external_initializers_file_folder_path", "/proc/self/fd");
  result.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
  if (!options.optimize) {
    result.SetGraphOptimizationLevel(ORT_DISABLE_ALL);
  } else {
    // The last level re-lays convolution weights, which copies them.
    result.SetGraphOptimizationLevel(options.prepack ? ORT_ENABLE_ALL : ORT_ENABLE_EXTENDED);
  }
  if (!options.prepack) {
    result.AddConfigEntry(kOrtSessionOptionsConfigDisablePrepacking, "1");
    // An arena keeps the largest activations of the largest batch for good.
    result.DisableCpuMemArena();
    result.DisableMemPattern();
  }
  if (!options.profile_prefix.empty()) result.EnableProfiling(options.profile_prefix.c_str());
  if (!options.optimized_model_path.empty()) {
    result.SetOptimizedModelFilePath(options.optimized_model_path.c_str());
    result.AddConfigEntry(kOrtSessionOptionsOptimizedModelExternalInitializersFileName,
                          "optimized.weights");
    result.AddConfigEntry(kOrtSessionOptionsOptimizedModelExternalInitializersMinSizeInBytes,
                          "1024");
  }
  return result;
}

}  // namespace modelpress

// The registry of formats: see format.h.
#include "core/formats/format.h"

#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

void RegisterFormat_All(FormatRegistry& registry);

absl::StatusOr<std::vector<ArtifactFile>> Format::Write(const Model&, const Output&,
                                                        const std::string&, const std::string&,
                                                        const JobContext&, double*) const {
  return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
               FormatString("models can be read from but not written to format \"{}\"", name()))
      .With("format", name());
}

const FormatRegistry& FormatRegistry::Get() {
  static const FormatRegistry* const registry = [] {
    auto* made = new FormatRegistry;
    RegisterFormat_All(*made);
    return made;
  }();
  return *registry;
}

void FormatRegistry::Add(std::unique_ptr<Format> format) { formats_.push_back(std::move(format)); }

const Format* FormatRegistry::Find(std::string_view name) const {
  for (const std::unique_ptr<Format>& format : formats_) {
    if (format->name() == name) return format.get();
  }
  return nullptr;
}

absl::StatusOr<const Format*> FormatRegistry::Recognise(const InputFiles& files) const {
  for (const std::unique_ptr<Format>& format : formats_) {
    if (format->Recognises(files)) return format.get();
  }
  const KnownFormat known = IdentifyKnownFormat(files.main.file->bytes());
  if (known.name.empty()) {
    return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
                 FormatString("\"{}\" is not a model of any known format", files.main.name))
        .With("format", "unknown")
        .Remedy("send an ONNX or TensorFlow Lite model");
  }
  return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
               FormatString("\"{}\" is a file of format {}, which cannot be read yet",
                            files.main.name, known.name))
      .With("format", known.name)
      .Remedy(known.remedy);
}

}  // namespace modelpress

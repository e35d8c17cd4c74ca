// Model formats: recognising, reading and writing. One folder per format under core/formats, found by CMake.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/job_context.h"
#include "core/model/model.h"

namespace modelpress::v1 {
class ArtifactFile;
class Import;
class Output;
}  // namespace modelpress::v1

namespace modelpress {

// The files of one model, already on disk and mapped. Nothing in a model is ever followed to a path: a reader sees
// these blobs and no others.
struct InputFile {
  // Relative name as the sender gave it ("model.onnx", "weights.data", "variables/variables.index").
  std::string name;
  std::shared_ptr<const MappedFile> file;
};

struct InputFiles {
  // The model itself.
  InputFile main;
  // Everything else that belongs to it. External data names one of these.
  std::vector<InputFile> sidecars;
};

class Format {
 public:
  virtual ~Format() = default;
  // "onnx": its name in recipes, capabilities and messages.
  virtual std::string_view name() const = 0;
  // One line for people.
  virtual std::string_view description() const = 0;
  // Usual file-name endings, for help texts only; recognition never looks at names.
  virtual std::vector<std::string_view> extensions() const = 0;
  virtual bool can_write() const { return false; }
  // Whether its models have a graph; false for files of weights alone.
  virtual bool has_graph() const { return true; }
  // Whether the bytes are of this format. Cheap (looks at a bounded prefix or structure) and never fails.
  virtual bool Recognises(const InputFiles& files) const = 0;
  // Whether Read makes an ONNX model of something else, following `options`; their opset is not its business.
  virtual bool converts() const { return false; }
  // Errors: MODEL_MALFORMED, MODEL_LIMIT, EXTERNAL_DATA_REJECTED, OPSET_UNSUPPORTED, OP_UNSUPPORTED, RECIPE_INVALID for
  // options that do not fit the model. `notes`, if given, receives what the caller should know of a conversion.
  virtual absl::StatusOr<Model> Read(const InputFiles& files, const Import& options,
                                     const JobContext& context,
                                     std::vector<std::string>* notes = nullptr) const = 0;
  // Writes into `folder` under names derived from `file_name`; main file first in the result, which has name, size and
  // SHA-256 of each. Each file is complete and synced before the one that refers to it appears under its name.
  // `sync_seconds`, if given, receives the part of the wall time that was spent waiting for the disk.
  virtual absl::StatusOr<std::vector<ArtifactFile>> Write(const Model& model, const Output& options,
                                                          const std::string& folder,
                                                          const std::string& file_name,
                                                          const JobContext& context,
                                                          double* sync_seconds = nullptr) const;
};

class FormatRegistry {
 public:
  // The registry with every format of this build.
  static const FormatRegistry& Get();

  void Add(std::unique_ptr<Format> format);
  const std::vector<std::unique_ptr<Format>>& formats() const { return formats_; }
  const Format* Find(std::string_view name) const;
  // The format of the files by their bytes; FORMAT_UNSUPPORTED says which known format it is that this build cannot
  // read, with the way out, or that the bytes are of no known format.
  absl::StatusOr<const Format*> Recognise(const InputFiles& files) const;

 private:
  std::vector<std::unique_ptr<Format>> formats_;
};

// Name of a known format that this build may not be able to read ("safetensors", "ZIP archive", ...)
// and what to do about it; empty name if the bytes are of no known format.
struct KnownFormat {
  std::string name;
  std::string remedy;
};
KnownFormat IdentifyKnownFormat(std::span<const std::byte> bytes);

}  // namespace modelpress

// Files of a model on disk: see input_files.h.
#include "core/formats/input_files.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/base/status.h"
#include "core/formats/onnx/external_data.h"
#include "core/formats/onnx/reader.h"
#include "core/formats/onnx/skeleton.h"
#include "core/formats/weights/read_weights.h"
#include "core/model/graph.h"

namespace modelpress {
namespace {

namespace fs = std::filesystem;

// Whether `folder`/`name` is a regular file that is reached without any symbolic link below the folder.
bool IsPlainFile(const fs::path& folder, const std::string& name) {
  fs::path path = folder;
  std::error_code error;
  for (const fs::path& part : fs::path(name)) {
    path /= part;
    if (fs::is_symlink(fs::symlink_status(path, error)) || error) return false;
  }
  return fs::is_regular_file(path, error) && !error;
}

}  // namespace

std::vector<std::string> ExternalDataNames(const InputFile& model) {
  std::vector<std::string> names;
  if (!onnx_format::LooksLikeOnnx(model.file->bytes())) return names;
  const auto skeleton = onnx_format::ScanModel(model.file->bytes(), kInlineBytes, nullptr);
  onnx::ModelProto proto;
  if (!skeleton.ok() || !proto.ParseFromString(skeleton->bytes)) return names;
  ForEachTensor(std::as_const(proto), [&](const onnx::TensorProto& tensor) {
    if (tensor.data_location() != onnx::TensorProto::EXTERNAL) return;
    for (const onnx::StringStringEntryProto& entry : tensor.external_data()) {
      if (entry.key() != "location") continue;
      if (std::find(names.begin(), names.end(), entry.value()) == names.end()) {
        names.push_back(entry.value());
      }
    }
  });
  return names;
}

absl::StatusOr<InputFiles> OpenModelFiles(const std::string& path) {
  const fs::path main(path);
  InputFiles files;
  files.main.name = main.filename().string();
  MP_ASSIGN_OR_RETURN(files.main.file, MappedFile::OpenForReading(path));
  const fs::path folder = main.has_parent_path() ? main.parent_path() : fs::path(".");
  std::vector<std::string> wanted = ExternalDataNames(files.main);
  for (std::string& shard : ShardNames(files.main.file->bytes()))
    wanted.push_back(std::move(shard));
  for (const std::string& written : wanted) {
    const absl::StatusOr<std::string> name = onnx_format::NormaliseName(written);
    if (!name.ok() || !IsPlainFile(folder, *name)) continue;
    MP_ASSIGN_OR_RETURN(auto file, MappedFile::OpenForReading((folder / *name).string()));
    files.sidecars.push_back({*name, std::move(file)});
  }
  return files;
}

}  // namespace modelpress

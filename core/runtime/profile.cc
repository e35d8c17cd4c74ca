// Profiles and optimized graphs: see profile.h.
#include "core/runtime/profile.h"

#include <re2/re2.h>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/base/status.h"
#include "core/model/graph.h"

namespace modelpress {
namespace {

namespace fs = std::filesystem;

// A folder in scratch that goes with this object.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const Scratch& scratch) : path_(scratch.folder() + "/profile-XXXXXX") {
    ok_ = mkdtemp(path_.data()) != nullptr;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (ok_) fs::remove_all(path_, ignored);
  }
  bool ok() const { return ok_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool ok_;
};

// The runtime names what it puts in a node's place "<name>_token_<number>".
std::string OwnName(const std::string& name) {
  static const RE2 kRenamed("_token_[0-9]+$");
  std::string own = name;
  RE2::Replace(&own, kRenamed, "");
  return own;
}

Error NoFolder(const Scratch& scratch) {
  return Error(ERROR_REASON_FILE_ACCESS, "cannot make a folder in " + scratch.folder())
      .With("path", scratch.folder());
}

// The profile is a list of trace events; a node's kernel is one whose name ends in "_kernel_time".
std::vector<NodeTime> ReadProfile(const std::string& path, int runs) {
  std::ifstream file(path);
  const auto events = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  std::map<std::string, NodeTime> nodes;
  constexpr std::string_view kSuffix = "_kernel_time";
  for (const auto& event : events) {
    if (!event.is_object() || event.value("cat", "") != "Node") continue;
    std::string name = event.value("name", "");
    if (!name.ends_with(kSuffix)) continue;
    name.resize(name.size() - kSuffix.size());
    NodeTime& node = nodes[name];
    node.node = name;
    if (event.contains("args")) node.op_type = event["args"].value("op_name", "");
    node.seconds += event.value("dur", 0.0) * 1e-6 / runs;
  }
  std::vector<NodeTime> sorted;
  for (auto& [name, node] : nodes) sorted.push_back(std::move(node));
  std::ranges::stable_sort(sorted, std::greater(), &NodeTime::seconds);
  return sorted;
}

}  // namespace

absl::StatusOr<OptimizedGraph> InspectOptimizedGraph(const Model& model, int threads,
                                                     Scratch& scratch) {
  const TemporaryFolder folder(scratch);
  if (!folder.ok()) return NoFolder(scratch);
  const std::string path = folder.path() + "/optimized.onnx";
  MP_RETURN_IF_ERROR(
      Session::Create(model, {.threads = threads, .prepack = true, .optimized_model_path = path})
          .status());
  onnx::ModelProto optimized;
  std::ifstream file(path, std::ios::binary);
  if (!optimized.ParseFromIstream(&file)) {
    return Error(ERROR_REASON_RUNTIME_FAILED, "the runtime did not write its optimized graph");
  }
  std::map<std::string, int> counts;
  OptimizedGraph result;
  ForEachGraph(std::as_const(optimized), [&](const onnx::GraphProto& graph, int) {
    for (const auto& node : graph.node()) {
      const std::string type =
          node.domain().empty() ? node.op_type() : node.domain() + ":" + node.op_type();
      ++counts[type];
      if (!node.name().empty()) result.nodes[OwnName(node.name())] = type;
    }
  });
  result.operators = {counts.begin(), counts.end()};
  return result;
}

absl::StatusOr<std::vector<NodeTime>> ProfileModel(const Model& model, const TensorMap& inputs,
                                                   int threads, int runs, Scratch& scratch) {
  const TemporaryFolder folder(scratch);
  if (!folder.ok()) return NoFolder(scratch);
  MP_ASSIGN_OR_RETURN(auto session,
                      Session::Create(model, {.threads = threads,
                                              .prepack = true,
                                              .profile_prefix = folder.path() + "/profile"}));
  for (int i = 0; i < runs; ++i) MP_RETURN_IF_ERROR(session->Run(inputs).status());
  MP_ASSIGN_OR_RETURN(const std::string path, session->EndProfiling());
  return ReadProfile(path, runs);
}

}  // namespace modelpress

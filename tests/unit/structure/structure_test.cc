// The shape of the source tree: arrows between folders point one way, the runtime is known in one place only, and no
// test source lies where no target builds it.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace modelpress {
namespace {

namespace fs = std::filesystem;

struct Include {
  std::string file;    // relative to the source folder
  std::string target;  // as written between the quotes or angle brackets
};

std::vector<std::string> SourceFiles(const std::string& folder) {
  std::vector<std::string> files;
  const fs::path root = MODELPRESS_SOURCE_DIR;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    const std::string extension = entry.path().extension();
    if (extension == ".cc" || extension == ".h") {
      files.push_back(fs::relative(entry.path(), root).string());
    }
  }
  return files;
}

std::vector<Include> Includes(const std::string& folder) {
  std::vector<Include> includes;
  for (const std::string& file : SourceFiles(folder)) {
    std::ifstream stream(fs::path(MODELPRESS_SOURCE_DIR) / file);
    std::string line;
    while (std::getline(stream, line)) {
      const size_t start = line.find_first_not_of(" \t");
      if (start == std::string::npos || !line.substr(start).starts_with("#include")) continue;
      const size_t open = line.find_first_of("\"<");
      const size_t close = line.find_first_of("\">", open + 1);
      if (close != std::string::npos) {
        includes.push_back({file, line.substr(open + 1, close - open - 1)});
      }
    }
  }
  return includes;
}

// "core/formats/onnx/reader.cc" -> "formats".
std::string CoreFolder(const std::string& path) {
  if (!path.starts_with("core/")) return "";
  return path.substr(5, path.find('/', 5) - 5);
}

TEST(StructureTest, ArrowsInCorePointOneWay) {
  // A folder may include itself and what stands here.
  const std::map<std::string, std::set<std::string>> may_include = {
      {"base", {}},
      {"model", {"base"}},
      {"rewrite", {"base", "model"}},
      {"formats", {"base", "model", "rewrite"}},
      {"quant", {"base", "model"}},
      {"runtime", {"base", "model"}},
      {"data", {"base", "model", "runtime"}},
      {"statistics", {"base", "model", "quant", "runtime", "data"}},
      {"measure", {"base", "model", "formats", "quant", "runtime", "data", "statistics"}},
      {"channels", {"base", "model", "quant", "runtime", "data", "statistics", "measure"}},
      {"process", {"base"}},
      {"training",
       {"base", "process", "model", "rewrite", "quant", "runtime", "data", "statistics",
        "measure"}},
      {"trainer", {"base", "process", "model", "data"}},
      {"distill", {"base", "model", "quant", "runtime", "data", "measure", "channels", "training"}},
      {"passes",
       {"base", "model", "rewrite", "formats", "quant", "runtime", "data", "statistics", "measure",
        "channels", "training", "distill"}},
      {"gate", {"base", "model", "formats", "quant", "runtime", "data", "measure", "passes"}},
      {"recipe",
       {"base", "model", "formats", "quant", "runtime", "data", "measure", "training", "passes",
        "gate"}},
      {"worker",
       {"base", "process", "model", "formats", "quant", "runtime", "data", "measure", "passes",
        "gate", "recipe"}},
  };
  int checked = 0;
  for (const Include& include : Includes("core")) {
    const std::string to = CoreFolder(include.target);
    if (to.empty()) continue;
    const std::string from = CoreFolder(include.file);
    ASSERT_TRUE(may_include.contains(from)) << "unknown folder core/" << from;
    EXPECT_TRUE(from == to || may_include.at(from).contains(to))
        << include.file << " includes " << include.target;
    ++checked;
  }
  EXPECT_GT(checked, 40);
}

TEST(StructureTest, ForeignLibrariesStayInTheirRooms) {
  for (const Include& include : Includes("core")) {
    const std::string& target = include.target;
    EXPECT_FALSE(target.starts_with("grpc") || target.starts_with("prometheus") ||
                 target.starts_with("server/") || target.starts_with("client/"))
        << include.file << " includes " << target;
    const bool torch =
        target.starts_with("torch/") || target.starts_with("ATen/") || target.starts_with("c10/");
    EXPECT_TRUE(!torch || include.file.starts_with("core/trainer/")) << include.file;
    if (target.find("onnxruntime") != std::string::npos) {
      EXPECT_TRUE(include.file.starts_with("core/runtime/")) << include.file;
      EXPECT_TRUE(include.file.ends_with(".cc")) << include.file;
    }
  }
  for (const Include& include : Includes("server")) {
    EXPECT_FALSE(include.target.starts_with("client/")) << include.file;
  }
  for (const Include& include : Includes("client")) {
    EXPECT_FALSE(include.target.starts_with("server/")) << include.file;
  }
}

TEST(StructureTest, EveryTestSourceLiesBesideABuildFile) {
  for (const std::string& file : SourceFiles("tests")) {
    const fs::path folder = (fs::path(MODELPRESS_SOURCE_DIR) / file).parent_path();
    EXPECT_TRUE(fs::exists(folder / "CMakeLists.txt")) << file << " is built by no target";
  }
}

TEST(StructureTest, EveryFileOpensBySayingWhatItIs) {
  for (const char* folder : {"core", "server", "client", "tests"}) {
    for (const std::string& file : SourceFiles(folder)) {
      std::ifstream stream(fs::path(MODELPRESS_SOURCE_DIR) / file);
      std::string line;
      std::getline(stream, line);
      EXPECT_TRUE(line.starts_with("//")) << file << " opens with: " << line;
    }
  }
}

}  // namespace
}  // namespace modelpress

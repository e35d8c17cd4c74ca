// Builders for the data tests: arrays as .npy bytes, and files in a folder that goes with the test.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/base/scratch.h"
#include "core/data/npy.h"
#include "core/runtime/session.h"

namespace modelpress::testing {

template <typename T>
Tensor MakeTensor(DataType type, std::vector<int64_t> dims, const std::vector<T>& values) {
  std::span<std::byte> data;
  Tensor tensor = Tensor::Make(type, std::move(dims), &data).value();
  std::memcpy(data.data(), values.data(), data.size());
  return tensor;
}

inline std::string FloatNpy(std::vector<int64_t> dims, const std::vector<float>& values) {
  return WriteNpy(MakeTensor(DataType::kFloat, std::move(dims), values));
}
inline std::string Int64Npy(std::vector<int64_t> dims, const std::vector<int64_t>& values) {
  return WriteNpy(MakeTensor(DataType::kInt64, std::move(dims), values));
}

// 0, 1, 2, ... in the given shape.
inline std::string CountingNpy(std::vector<int64_t> dims) {
  std::vector<float> values(ElementCount(dims).value());
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return FloatNpy(std::move(dims), values);
}

inline NpyArray ParseNpy(const std::string& bytes) {
  auto owner = std::make_shared<std::string>(bytes);
  return NpyArray::Parse({std::as_bytes(std::span(*owner)), owner}).value();
}

inline std::vector<float> Floats(const Tensor& tensor) {
  return {tensor.as<float>().begin(), tensor.as<float>().end()};
}

inline ValueInfo FloatInput(std::string name, std::vector<int64_t> dims) {
  return {.name = std::move(name), .type = DataType::kFloat, .dims = std::move(dims)};
}

// Anonymous memory of this process (RssAnon).
inline uint64_t AnonymousBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  uint64_t kib = 0;
  while (status >> word) {
    if (word == "RssAnon:") status >> kib;
  }
  return kib * 1024;
}

// A folder that disappears with this object.
class DataFolder {
 public:
  DataFolder() : scratch_(Scratch::Temporary(0).value()), root_(scratch_->folder() + "/data") {
    std::filesystem::create_directories(root_);
  }

  DataFolder& Write(const std::string& name, const std::string& bytes) {
    const std::filesystem::path path = root_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return *this;
  }
  std::string path(const std::string& name = "") const {
    return name.empty() ? root_.string() : (root_ / name).string();
  }
  Scratch* scratch() const { return scratch_.get(); }

 private:
  std::unique_ptr<Scratch> scratch_;
  std::filesystem::path root_;
};

}  // namespace modelpress::testing

// What stands in the way of a conversion, collected so that the caller hears of all of it at once.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace modelpress::import {

class Refusals {
 public:
  // Takes note of an OP_UNSUPPORTED of the operator at `node`; its "rule" and "remedy" are what is told.
  void Add(std::string_view op, std::string_view node, const absl::Status& status);
  bool empty() const { return rows_.empty(); }
  // OP_UNSUPPORTED with every operator, its count, its first node and what to do.
  absl::Status ToStatus() const;

 private:
  struct Row {
    std::string op;
    int count = 0;
    std::string first_node;
    std::string reason;
    std::string remedy;
  };
  std::map<std::string, Row> rows_;  // by operator and reason
};

}  // namespace modelpress::import

// expect: (read-only|const-qualified|const float)
#include <stroma/adapt/std.hpp>

int main() {
  const std::vector<float> scores(3);
  stroma::as_view(scores)[0] = 1;
}

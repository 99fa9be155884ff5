// expect: stroma: std::vector<bool> has no elements that a view could point to: take std::vector<std::uint8_t>
#include <stroma/adapt/std.hpp>

int main() {
  std::vector<bool> event(3);
  return static_cast<int>(stroma::as_view(event).size);
}

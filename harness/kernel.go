package harness

import "fmt"

// KernelAtLeast reports whether a kernel release, as uname -r prints it, is of a
// Linux version or a later one. It decides what is asked of a kernel, so that
// nothing is left out because it does not work. A release that does not begin
// with a version counts as the newest: it is asked for everything.
func KernelAtLeast(release string, major, minor int) bool {
	var hasMajor, hasMinor int
	if _, err := fmt.Sscanf(release, "%d.%d", &hasMajor, &hasMinor); err != nil {
		return true
	}
	return hasMajor > major || hasMajor == major && hasMinor >= minor
}

//go:build linux

package faultkit

import (
	"bufio"
	"os"
	"strings"
)

// shownLines and shownBytes bound what is printed of the log for a wrong verdict.
const shownLines, shownBytes = 30, 600

// LogEnd returns the last lines about a container, for the message of a failed test.
func LogEnd(id string) string {
	lines := LogOf(id)
	lines = lines[max(0, len(lines)-shownLines):]
	for i, line := range lines {
		lines[i] = line[:min(len(line), shownBytes)]
	}
	return strings.Join(lines, "\n  ")
}

// LogOf returns the lines about a container in the log of containerd and of the shims.
func LogOf(id string) (lines []string) {
	file, err := os.Open(ContainerdLog)
	if err != nil {
		return []string{err.Error()}
	}
	defer file.Close()
	scan := bufio.NewScanner(file)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		if line := scan.Text(); strings.Contains(line, id) && telling(line) {
			lines = append(lines, line)
		}
	}
	return lines
}

// telling leaves out the lines that every container has before its end.
func telling(line string) bool {
	for _, dull := range []string{
		"ContainerStatus", "CreateContainer", "StartContainer", "ListContainers", "Container spec", `\" spec"`, "CDI devices",
		"creating task", "activating mount", "Use OCI runtime", "Loaded container", "Finish piping",
	} {
		if strings.Contains(line, dull) {
			return false
		}
	}
	return true
}

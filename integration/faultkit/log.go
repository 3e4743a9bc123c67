//go:build linux

package faultkit

import (
	"bufio"
	"os"
	"strings"
)

// evidenceLines limits the log lines that are printed for a wrong verdict.
const evidenceLines = 30

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
			lines = append(lines, line[:min(len(line), 600)])
		}
	}
	if len(lines) > evidenceLines {
		lines = lines[len(lines)-evidenceLines:]
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

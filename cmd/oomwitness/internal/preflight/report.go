// Package preflight looks at a node and reports whether oomwitness can do its
// work there, and what to do where it cannot.
package preflight

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Status is how serious a finding is.
type Status string

const (
	// OK needs nothing.
	OK Status = "ok"
	// Warn works, with less than everything, or is not yet done.
	Warn Status = "warn"
	// Fail does not work.
	Fail Status = "fail"
)

// Finding is the answer to one question about the node.
type Finding struct {
	// Name of the check, stable.
	Name string `json:"name"`
	// Status is ok, warn or fail.
	Status Status `json:"status"`
	// Found is what is there.
	Found string `json:"found"`
	// Do is what the operator can do about it; empty for ok.
	Do string `json:"do,omitempty"`
}

// Report is all findings. Its JSON form is stable: Schema stays 1 as long as
// fields and finding names are only added.
type Report struct {
	Schema   int       `json:"schema"`
	OK       bool      `json:"ok"`
	Findings []Finding `json:"findings"`
}

// newReport sums findings up.
func newReport(findings []Finding) Report {
	report := Report{Schema: 1, Findings: findings}
	report.OK = report.count(Fail) == 0
	return report
}

func (r Report) count(status Status) int {
	n := 0
	for _, finding := range r.Findings {
		if finding.Status == status {
			n++
		}
	}
	return n
}

// Failed names the checks that failed.
func (r Report) Failed() []string {
	var names []string
	for _, finding := range r.Findings {
		if finding.Status == Fail {
			names = append(names, finding.Name)
		}
	}
	return names
}

// Summary is one line: how many of each.
func (r Report) Summary() string {
	return fmt.Sprintf("%d ok, %d warn, %d fail", r.count(OK), r.count(Warn), r.count(Fail))
}

// WriteJSON writes the report as one indented JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// WriteText writes the report as a table, with what to do below the finding
// that asks for it.
func (r Report) WriteText(w io.Writer) error {
	width := len("CHECK")
	for _, finding := range r.Findings {
		width = max(width, len(finding.Name))
	}
	var out strings.Builder
	indent := strings.Repeat(" ", 8+width+2)
	fmt.Fprintf(&out, "%-6s  %-*s  %s\n", "STATUS", width, "CHECK", "FOUND")
	for _, finding := range r.Findings {
		fmt.Fprintf(&out, "%-6s  %-*s  %s\n", finding.Status, width, finding.Name, hang(finding.Found, indent))
		if finding.Do != "" {
			fmt.Fprintf(&out, "%s-> %s\n", indent, hang(finding.Do, indent+"   "))
		}
	}
	fmt.Fprintf(&out, "\n%s\n", r.Summary())
	_, err := io.WriteString(w, out.String())
	return err
}

// hang indents all lines but the first.
func hang(text, indent string) string {
	return strings.ReplaceAll(text, "\n", "\n"+indent)
}

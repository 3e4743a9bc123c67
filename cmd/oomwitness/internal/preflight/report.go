// Package preflight checks whether oomwitness can work on a node, and returns advice if it
// cannot.
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
	// OK means that nothing is to be done.
	OK Status = "ok"
	// Warn means that a part does not work fully, or is not set up yet.
	Warn Status = "warn"
	// Fail means that oomwitness does not work.
	Fail Status = "fail"
)

// Finding is the result of one check.
type Finding struct {
	// Name is the stable name of the check.
	Name string `json:"name"`
	// Status is ok, warn or fail.
	Status Status `json:"status"`
	// Found is what the check found.
	Found string `json:"found"`
	// Do is the advice for the operator; empty for ok.
	Do string `json:"do,omitempty"`
	// Transient says that the same node may pass the check a moment later.
	Transient bool `json:"-"`
}

// Report has all findings. Its JSON form is stable: Schema stays 1 as long as fields and
// finding names are only added.
type Report struct {
	Schema   int       `json:"schema"`
	OK       bool      `json:"ok"`
	Findings []Finding `json:"findings"`
}

// newReport returns the report of findings.
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

// Failed returns the names of the checks that failed.
func (r Report) Failed() []string {
	var names []string
	for _, finding := range r.Findings {
		if finding.Status == Fail {
			names = append(names, finding.Name)
		}
	}
	return names
}

// Summary returns one line with the number of findings of each status.
func (r Report) Summary() string {
	return fmt.Sprintf("%d ok, %d warn, %d fail", r.count(OK), r.count(Warn), r.count(Fail))
}

// WriteJSON writes the report as one indented JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// WriteText writes the report as a table. The advice is below its finding.
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

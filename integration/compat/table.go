// Package compat tests the matrix of containerd versions. It also makes the table out of the
// figures of these tests and of the fault suite.
package compat

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Table has the results of each node under our shim.
type Table struct {
	rows map[place]map[string]count
}

// place is a node: the version that containerd prints, the cgroup version and the cgroup
// driver.
type place struct{ containerd, cgroup, driver string }

// count is the number of containers, and how many of them were reported correctly.
type count struct{ n, right int }

// columns are the table's columns, each with the prefix of its figures' names.
var columns = []struct{ title, prefix string }{
	{"mix", "mix"},
	{"at first sight by CRI", "first-sight"},
	{"containerd killed, CRI", "containerd-killed"},
	{"containerd killed, client", "restart"},
	{"shim dead, client", "dead-shim"},
	{"shim killed, CRI", "shim-killed"},
	{"both killed, CRI", "shim-and-containerd-killed"},
	{"upgraded to 2.4", "up"},
	{"downgraded from 2.4", "down"},
	{"annotations", "policy"},
}

// Read adds the figures of a file. It skips lines that are not of the matrix. A line of the
// matrix without its numbers is an error.
func (t *Table) Read(from io.Reader) error {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		fields := fieldsOf(lines.Text())
		name := cmp.Or(fields["row"], fields["fault"])
		if name == "" || fields["containerd"] == "" || fields["shim"] != "oomwitness" {
			continue
		}
		c, err := countOf(name, fields)
		if err != nil {
			return fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		if name == "containerd-replaced" {
			name = "up"
			if fields["from"] == newest {
				name = "down"
			}
		}
		t.add(place{fields["containerd"], fields["cgroup"], fields["driver"]}, name, c)
	}
	return lines.Err()
}

// newest is the containerd to which older versions are upgraded.
const newest = "2.4"

// fieldsOf splits a line of key=value words. The first value of a key counts.
func fieldsOf(line string) map[string]string {
	fields := map[string]string{}
	for _, word := range strings.Fields(line) {
		if key, value, ok := strings.Cut(word, "="); ok && fields[key] == "" {
			fields[key] = value
		}
	}
	return fields
}

// countOf returns how many containers were right. For the mix these are the runs that no count
// of wrong runs has.
func countOf(name string, fields map[string]string) (c count, err error) {
	if c.n, err = strconv.Atoi(fields["n"]); err != nil {
		return c, fmt.Errorf("n: %w", err)
	}
	if right, ok := fields["right"]; ok {
		c.right, err = strconv.Atoi(right)
		return c, err
	}
	wrong := []string{"wrong"}
	if name == "mix" {
		wrong = []string{"oom_lost_or_late", "false_oom", "exit_lost", "twice", "wrong_id", "wrong_status"}
	}
	c.right = c.n
	for _, key := range wrong {
		n, err := strconv.Atoi(fields[key])
		if err != nil {
			return c, fmt.Errorf("%s: %w", key, err)
		}
		c.right -= n
	}
	if failed, ok := fields["failed"]; ok { // these never came to an end, and n does not count them
		n, err := strconv.Atoi(failed)
		if err != nil {
			return c, fmt.Errorf("failed: %w", err)
		}
		c.n += n
	}
	return c, nil
}

func (t *Table) add(at place, name string, c count) {
	if t.rows == nil {
		t.rows = map[place]map[string]count{}
	}
	if t.rows[at] == nil {
		t.rows[at] = map[string]count{}
	}
	for _, column := range columns {
		if strings.HasPrefix(name, column.prefix) {
			sum := t.rows[at][column.prefix]
			t.rows[at][column.prefix] = count{sum.n + c.n, sum.right + c.right}
			return
		}
	}
}

// Write prints the table in Markdown. A cell says how many of how many were right; it is empty
// if nothing was run.
func (t *Table) Write(to io.Writer) error {
	var text strings.Builder
	text.WriteString("| containerd | cgroup | driver |")
	for _, column := range columns {
		fmt.Fprintf(&text, " %s |", column.title)
	}
	text.WriteString("\n|" + strings.Repeat("---|", 3+len(columns)) + "\n")
	places := slices.SortedFunc(maps.Keys(t.rows), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.containerd, b.containerd), cmp.Compare(a.cgroup, b.cgroup), cmp.Compare(a.driver, b.driver))
	})
	for _, at := range places {
		fmt.Fprintf(&text, "| %s | %s | %s |", at.containerd, at.cgroup, at.driver)
		for _, column := range columns {
			switch c := t.rows[at][column.prefix]; {
			case c.n == 0:
				text.WriteString(" |")
			case c.right == c.n:
				fmt.Fprintf(&text, " %d of %d |", c.right, c.n)
			default:
				fmt.Fprintf(&text, " **%d of %d** |", c.right, c.n)
			}
		}
		text.WriteString("\n")
	}
	_, err := io.WriteString(to, text.String())
	return err
}

package nodewhy

import (
	"encoding/json"
	"regexp"
	"strconv"
	"time"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// aField is a field of a line as logrus writes lines for a file: name=value or name="value".
var aField = regexp.MustCompile(`([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)`)

// aSender is a sender as oom.Sender.String writes the sender.
var aSender = regexp.MustCompile(`^(.*)\[(\d+)\] uid (\d+)(?: in (/.*))?$`)

// fieldsOf returns the fields of a line of the log, nil for a line of another form.
func fieldsOf(line string) map[string]string {
	fields := map[string]string{}
	for at := 0; at < len(line); {
		m := aField.FindStringSubmatchIndex(line[at:])
		if m == nil || m[0] != 0 {
			return nil
		}
		name, value := line[at+m[2]:at+m[3]], line[at+m[4]:at+m[5]]
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		fields[name] = value
		at += m[1]
	}
	return fields
}

// verdictIn returns the exit whose verdict a line of the shim's log has. The line has no
// pod, no sizes and no victims.
func verdictIn(line string) (exits.Exit, bool) {
	f := fieldsOf(line)
	if f["msg"] != "verdict" {
		return exits.Exit{}, false
	}
	x := exits.Exit{Version: exits.Version, ID: f["container"], Acked: f["acked"] == "true"}
	var err [5]error
	x.At, err[0] = time.Parse(time.RFC3339Nano, f["time"])
	x.Pid, err[1] = strconv.Atoi(f["pid"])
	x.Status, err[2] = strconv.Atoi(f["status"])
	x.Verdict.Kills, err[3] = strconv.ParseUint(f["kills"], 10, 64)
	err[4] = json.Unmarshal([]byte(strconv.Quote(f["rule"])), &x.Verdict.Rule)
	for _, e := range err {
		if e != nil {
			return exits.Exit{}, false
		}
	}
	x.Reported = x.Status
	if reported, err := strconv.Atoi(f["reported_status"]); err == nil {
		x.Reported = reported
	}
	v := &x.Verdict
	v.OOMKilled, v.Gone = f["oom"] == "true", f["cgroup_gone"] == "true"
	v.Ended, v.Cause, v.Lineage = oom.Ended(f["ended"]), oom.Cause(f["cause"]), oom.Lineage(f["lineage"])
	if v.Lineage == oom.Lineage(oom.LineageUnknown.String()) {
		v.Lineage = oom.LineageUnknown
	}
	v.Evidence, v.Tier = f["evidence"], f["tier"]
	_ = v.Init.UnmarshalText([]byte(f["init_victim"])) // else unknown
	v.Sent, v.Sender = senderIn(f["sender"], x.At)
	return x, x.Check() == nil
}

// senderIn returns the sender that a field of the log names.
func senderIn(text string, at time.Time) (oom.Known, *oom.Sender) {
	if text == "kernel" {
		return oom.Yes, &oom.Sender{At: at, Comm: text}
	}
	m := aSender.FindStringSubmatch(text)
	if m == nil {
		return oom.Unknown, nil
	}
	pid, err := strconv.Atoi(m[2])
	uid, err2 := strconv.ParseUint(m[3], 10, 32)
	if err != nil || err2 != nil {
		return oom.Unknown, nil
	}
	return oom.Yes, &oom.Sender{At: at, Comm: m[1], PID: pid, UID: uint32(uid), CgroupPath: m[4]}
}

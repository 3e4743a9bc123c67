package main

import (
	"testing"

	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m, main) }

// badUse are wrong command lines. Ahead of each is a part of the error, which names what
// is wrong and what is allowed.
var badUse = [][]string{
	{`unknown command "bogus" for "kubectl oomwitness": allowed are completion`, "bogus"},
	{"0 arguments: allowed is one", "why"},
	{"2 arguments: allowed is one", "why", "a", "b"},
	{`pod "A_B": allowed are lower-case letters`, "why", "A_B"},
	{`unknown flag: --nope: allowed are the flags of`, "why", "a", "--nope"},
	{`--output "xml": allowed are text`, "why", "a", "-o", "xml"},
	{`--container "A_": allowed are lower-case letters`, "why", "a", "-c", "A_"},
	{`--namespace "A_": allowed are lower-case letters`, "why", "a", "-n", "A_"},
	{`--agent-selector "": allowed is a selector of labels`, "why", "a", "--agent-selector", ""},
	{`--agent-selector "a=(": allowed is a selector of labels`, "why", "a", "--agent-selector", "a=("},
	{`--agent-namespace "A_": allowed are lower-case letters`, "why", "a", "--agent-namespace", "A_"},
	{`--request-timeout "soon": allowed is a duration`, "why", "a", "--request-timeout", "soon"},
	{`--previous "maybe": allowed are true and false`, "why", "a", "--previous=maybe"},
	{`top "x": allowed are no arguments`, "top", "x"},
	{`--since "soon": allowed is a duration`, "top", "--since", "soon"},
	{"--since 0s: allowed are 1s to 8784h0m0s", "top", "--since", "0s"},
	{`--since "9999999h": allowed is a duration`, "top", "--since", "9999999h"},
	{"--limit -1: allowed are 0 to 10000", "top", "--limit", "-1"},
	{`--limit "x": allowed is a whole number`, "top", "--limit", "x"},
	{`--all-namespaces with --namespace "a": allowed is one of them`, "top", "-A", "-n", "a"},
	{`events "x": allowed are no arguments`, "events", "x"},
	{`--watch "maybe": allowed are true and false`, "events", "-w=maybe"},
	{`nodes "x": allowed are no arguments`, "nodes", "x"},
	{`--output "": allowed are text`, "nodes", "-o", ""},
	{`version "x": allowed are no arguments`, "version", "x"},
	{`--output "csv": allowed are text`, "version", "-o", "csv"},
	{`unknown command "tcsh" for "kubectl oomwitness completion": allowed are bash`, "completion", "tcsh"},
	{`unknown command "bogus" for "kubectl oomwitness": allowed are completion`, "help", "bogus"},
	{`--kubeconfig "/nowhere": no such file or directory`, "why", "a", "--kubeconfig", "/nowhere"},
	{`--context "nope": `, "why", "a", "--context", "nope"},
	{`pod "": allowed are lower-case letters`, "why", ""},
	{`pod "pod/": allowed are lower-case letters`, "why", "pod/"},
	{`pod "deploy/x": allowed are lower-case letters`, "why", "deploy/x"},
	{`unknown flag: --nope: allowed are the flags of`, "--nope"},
	{`--output "x": allowed are text, wide, json, yaml; --agent-namespace "A": allowed are`, "top", "-o", "x", "--agent-namespace", "A"},
	{"--output: has no value", "why", "a", "-o"},
	{`--request-timeout "-5s": allowed is a duration`, "why", "a", "--request-timeout", "-5s"},
	{`--kubeconfig "/": is a directory`, "why", "a", "--kubeconfig", "/"},
	{`--kubeconfig "/proc/self/exe": this file is no kubeconfig`, "nodes", "--kubeconfig", "/proc/self/exe"},
	{`pod "a/b/c/d": allowed are lower-case letters`, "why", "a/b/c/d"},
	{`pod "/a": allowed are lower-case letters`, "why", "/a"},
	{`pod "a/": allowed are lower-case letters`, "why", "a/"},
	{`pod "A_/b": allowed are lower-case letters`, "why", "A_/b"},
	{`pod "a.b/c": allowed are lower-case letters`, "why", "a.b/c"},
	{`pod "a/b/C_": allowed are lower-case letters`, "why", "a/b/C_"},
	{`if sts is a namespace: -n sts db-0`, "why", "sts/db-0"},
	{`--namespace "b" with "a/x": allowed is one namespace`, "why", "a/x", "-n", "b"},
	{`--container "d" with "a/x/c": allowed is one container`, "why", "a/x/c", "-c", "d"},
	{`--since "3661d": allowed is a duration, such as 90s, 30m, 24h or 1d`, "top", "--since", "3661d"},
	{"--since 8808h0m0s: allowed are 1s to 8784h0m0s", "top", "--since", "367d"},
	{"--since -24h0m0s: allowed are 1s to", "top", "--since", "-24h"},
}

// TestBadUse runs the program with each wrong command line.
func TestBadUse(t *testing.T) { clitest.Refused(t, "kubectl oomwitness", badUse) }

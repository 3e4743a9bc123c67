package oom

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Rule is the number of the rule, in the order of the design's section 5, that
// decided a verdict; "" of a verdict that is not there yet.
type Rule string

// The rules.
const (
	RuleInitVictim   Rule = "1"  // init itself was killed by the OOM killer
	RuleSender       Rule = "2"  // init died of a SIGKILL whose sender is known
	RuleStopped      Rule = "3"  // containerd asked for the stop; its exception is an OOM
	RuleExitedZero   Rule = "4"  // exit status 0
	RulePassedOn     Rule = "5a" // a descendant's 137 was passed on
	RuleWithinGrace  Rule = "5b" // a descendant was killed shortly before a non-zero exit
	RuleExec         Rule = "6"  // only exec'd processes were killed
	RuleCounters     Rule = "7"  // as 3 or 5, where neither lineage nor sender decides
	RuleNothingKnown Rule = "8"  // none of these
)

var rules = []Rule{
	RuleInitVictim, RuleSender, RuleStopped, RuleExitedZero, RulePassedOn,
	RuleWithinGrace, RuleExec, RuleCounters, RuleNothingKnown,
}

// UnmarshalJSON reads a rule, and refuses what is none.
func (r *Rule) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("rule: %w", err)
	}
	if !slices.Contains(rules, Rule(text)) {
		return fmt.Errorf("rule %q; allowed: %q", text, rules)
	}
	*r = Rule(text)
	return nil
}

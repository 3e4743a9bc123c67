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

// oldRules are the rules of a record of version 2, by their numbers there.
var oldRules = map[int]Rule{
	1: RuleInitVictim, 2: RuleStopped, 3: RuleExitedZero,
	4: RuleWithinGrace, 5: RuleCounters, 6: RuleNothingKnown,
}

var rules = []Rule{
	RuleInitVictim, RuleSender, RuleStopped, RuleExitedZero, RulePassedOn,
	RuleWithinGrace, RuleExec, RuleCounters, RuleNothingKnown,
}

// UnmarshalJSON reads a rule. A number is the rule of a record of version 2, which meant
// another one by it.
func (r *Rule) UnmarshalJSON(data []byte) error {
	var old int
	if json.Unmarshal(data, &old) == nil {
		rule, ok := oldRules[old]
		if !ok {
			return fmt.Errorf("rule %d; allowed: 1 to %d", old, len(oldRules))
		}
		*r = rule
		return nil
	}
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

package cli

import (
	"context"
	"strings"
)

// nodeNames puts names in place of the IDs of nodes. Of nodes that share a name the IDs stay, and all of them do when
// the agent does not tell.
func (a *app) nodeNames(ctx context.Context) *strings.Replacer {
	nodes, err := a.api().Nodes(ctx)
	if err != nil {
		return strings.NewReplacer()
	}
	holders := map[string]int{}
	for _, n := range nodes {
		holders[n.Name]++
	}
	var pairs []string
	for _, n := range nodes {
		if n.ID != "" && n.Name != "" && holders[n.Name] == 1 {
			pairs = append(pairs, n.ID, n.Name)
		}
	}
	return strings.NewReplacer(pairs...)
}

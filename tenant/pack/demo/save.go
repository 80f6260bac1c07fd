package demo

import (
	"context"
	"maps"
	"strings"
	"time"

	"carillon/authz"
	"carillon/tenant"
	"carillon/tenant/pack"
	"carillon/tenant/pack/enx"
)

// Save fills in the draft of t with [Config]: [pack.ErrChanged] if somebody has begun with it.
func Save(ctx context.Context, tx *tenant.Tx, t *tenant.Tenant, by authz.Subject, deviceKey string, now time.Time) error {
	c := Config(t.Name, deviceKey)
	values := maps.Clone(c.Values)
	values["languages"] = strings.Join(c.Languages, ", ")
	for _, s := range sections(c) {
		entered := values
		if s.Step == enx.Texts {
			entered = c.Texts[s.Language]
		}
		if err := pack.Save(ctx, tx, t, by, s, 0, entered, now); err != nil {
			return err
		}
	}
	return nil
}

// sections lists those of a draft in such an order that each is there when it is filled in.
func sections(c enx.Config) []pack.Section {
	list := []pack.Section{{Step: enx.Region}}
	for _, step := range enx.Steps()[1:] {
		if step != enx.Texts {
			list = append(list, pack.Section{Step: step})
		}
	}
	for _, lang := range c.Languages {
		list = append(list, pack.Section{Step: enx.Texts, Language: lang})
	}
	return list
}

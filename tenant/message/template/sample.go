package template

import (
	"context"
	"slices"

	"carillon/tenant"
)

// Sample is a text as a phone would show it, with made-up codes of the tenant's
// lengths, for whoever chooses among texts.
type Sample struct {
	Label, Language string
	Text            string
	// Size is what the longest message costs, with the signature if the tenant signs.
	Size Size
}

// Samples shows the tenant's texts for codes that staff issue, the one in its own
// language that an issuer gets without choosing first. Self-reports' are not among them.
func (l *Library) Samples(ctx context.Context, t *tenant.Tenant, redirectDomain string) ([]Sample, error) {
	book, err := l.Book(ctx, t)
	if err != nil {
		return nil, err
	}
	body, err := book.Find(MainLabel, t.Settings.Language)
	if err != nil {
		return nil, err
	}
	texts := slices.DeleteFunc(slices.Clone(book.texts), func(x Text) bool { return x.Label == UserReportLabel })
	usual := slices.IndexFunc(texts, func(x Text) bool { return x.Label == MainLabel && x.Body == body })
	if usual < 0 {
		texts, usual = append(texts, Text{Label: MainLabel, Language: t.Settings.Language, Body: body}), len(texts)
	}
	first := texts[usual].Language
	slices.SortStableFunc(texts, func(a, b Text) int { return rank(a, first) - rank(b, first) })
	list := make([]Sample, len(texts))
	for i, text := range texts {
		list[i] = sample(t, text, redirectDomain)
	}
	return list, nil
}

// rank puts the main text in the language that comes first before its translations, and
// those before texts of other labels.
func rank(x Text, first string) int {
	switch {
	case x.Label == MainLabel && x.Language == first:
		return 0
	case x.Label == MainLabel:
		return 1
	}
	return 2
}

func sample(t *tenant.Tenant, text Text, redirectDomain string) Sample {
	return Sample{
		Label: text.Label, Language: text.Language,
		Text: example(t, redirectDomain).fill(text.Body),
		Size: measure(t, text.Label, text.Body, redirectDomain).Signed,
	}
}

// example is what variables become in a sample. The digits count up, so that nobody
// takes them for a code.
func example(t *tenant.Tenant, redirectDomain string) Vars {
	return Vars{
		Code: digits(t.Settings.CodeDigits), LongCode: digits(t.Settings.LongCodeLength),
		Life: t.Settings.CodeLife, LongLife: t.Settings.LongCodeLife,
		Region: t.Region, RedirectDomain: redirectDomain,
	}
}

func digits(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = byte('0' + (i+1)%10)
	}
	return string(text)
}

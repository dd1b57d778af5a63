"""Prompts that nobody expects: ten thousand characters, from right to left, with markup."""

LONG = ("ocean waves that roll to the shore " * 300)[:10_000]
HEBREW = "\u05d2\u05dc\u05d9 \u05d4\u05d9\u05dd"
ARABIC = "\u0623\u0645\u0648\u0627\u062c \u0627\u0644\u0628\u062d\u0631"
MARKUP = 'waves <script>alert("x")</script> & foam'
UNUSUAL = [LONG, HEBREW, f"\u202e{ARABIC}", MARKUP]

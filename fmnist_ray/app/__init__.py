"""The web app and the REST service, on Ray Serve.

`uploads`, `pictures`, `answers` and `api` are the REST service, `run_state`, `experiments`,
`comparing` and `pages` the pages; none of them knows of Ray. `deployments` puts them into Ray
Serve's processes, `service` onto a cluster, and `guard` stands before both.

The pages are small ones of our own and not Gradio's, which was tried (6.31, on Ray Serve and
alone): it keeps every upload on the disk under its own name, which we promise not to; an answer
through it took 0.10 to 0.15 s on two cores, without any work; its sketch pad cannot be used from a
keyboard; and an experiment has no address there that could be sent to someone. It works without a
network, as these pages do.
"""

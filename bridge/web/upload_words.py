"""What the page of an upload link says, in the languages it knows."""

# ruff: noqa: RUF001  # the apostrophe of French

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from bridge.uploads import Problem, Reason


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """One language. What stands in braces is filled in."""

    title: str
    intro: str
    camera: str
    choose: str
    chosen: str
    limits: str
    left: str
    place: str
    send: str
    remove: str
    sending: str
    checking: str
    lost: str
    again: str
    cancel: str
    nothing: str
    leave: str
    done_title: str
    done: str
    done_some: str
    refused: str
    other_link: str
    failed: str
    slow: str
    media_over: str
    media_checking: str
    problems: Mapping[Problem, str]
    reasons: Mapping[Reason, str]


ENGLISH = Words(
    title="Send your files",
    intro="Your photos, videos or documents go straight to {brand}, into the conversation you have with us.",
    camera="Camera",
    choose="Choose files",
    chosen="Chosen files",
    limits="Up to {files} files, each up to {size} MB.",
    left="This link works once, for another {minutes} min.",
    place="The place where a photo was taken is removed before anybody sees it.",
    send="Send",
    remove="Remove {name}",
    sending="Sending: {percent} %",
    checking="Received. Checking the files…",
    lost="The connection was lost. Your files are still here; trying again in {seconds} s.",
    again="Try again now",
    cancel="Stop",
    nothing="Choose a file first.",
    leave="Your files are still being sent.",
    done_title="Thank you",
    done="Your files have arrived. You can close this page.",
    done_some="The other files have arrived. You can close this page.",
    refused="Not taken:",
    other_link="If we need another file, ask us by text for a new link.",
    failed="Something went wrong on our side. Please try again.",
    slow="That took too long. Please try again, with fewer files if you can.",
    media_over="This link is over.",
    media_checking="This file is still being checked. Try again in a minute.",
    problems={
        "unknown": "This link is not complete. Please open it from our text again.",
        "used": "The files sent with this link have arrived. If you want to send more, ask us by text for a new link.",
        "expired": "This link is over. Ask us by text for a new one.",
        "busy": "We are receiving files just now. Please try again in a moment.",
        "too_often": "This link was tried too often. Ask us by text for a new one.",
    },
    reasons={
        "too_large": "too large",
        "type": "not a kind of file we can take",
        "too_many_pixels": "the picture has too many pixels",
        "broken": "the file is damaged",
        "infected": "the file was found to be harmful",
        "too_many": "too many files",
    },
)
FRENCH = Words(
    title="Envoyez vos fichiers",
    intro="Vos photos, vidéos ou documents arrivent directement chez {brand}, dans votre conversation avec nous.",
    camera="Appareil photo",
    choose="Choisir des fichiers",
    chosen="Fichiers choisis",
    limits="{files} fichiers au plus, {size} Mo au plus par fichier.",
    left="Ce lien sert une seule fois, encore {minutes} min.",
    place="Le lieu de prise de vue est effacé des photos avant que quiconque les voie.",
    send="Envoyer",
    remove="Retirer {name}",
    sending="Envoi : {percent} %",
    checking="Reçu. Vérification des fichiers…",
    lost="La connexion est coupée. Vos fichiers sont toujours là ; nouvel essai dans {seconds} s.",
    again="Réessayer maintenant",
    cancel="Arrêter",
    nothing="Choisissez d’abord un fichier.",
    leave="L’envoi de vos fichiers n’est pas terminé.",
    done_title="Merci",
    done="Vos fichiers sont arrivés. Vous pouvez fermer cette page.",
    done_some="Les autres fichiers sont arrivés. Vous pouvez fermer cette page.",
    refused="Non acceptés :",
    other_link="Pour envoyer un autre fichier, demandez-nous un nouveau lien par SMS.",
    failed="Un problème est survenu de notre côté. Réessayez, s’il vous plaît.",
    slow="L’envoi a pris trop de temps. Réessayez, si possible avec moins de fichiers.",
    media_over="Ce lien n’est plus valable.",
    media_checking="Ce fichier est encore en cours de vérification. Réessayez dans une minute.",
    problems={
        "unknown": "Ce lien est incomplet. Ouvrez-le de nouveau depuis notre SMS.",
        "used": "Les fichiers envoyés par ce lien sont arrivés. Pour en envoyer d’autres, demandez-nous un nouveau lien par SMS.",
        "expired": "Ce lien n’est plus valable. Demandez-nous-en un nouveau par SMS.",
        "busy": "Nous recevons des fichiers en ce moment. Réessayez dans un instant.",
        "too_often": "Ce lien a été essayé trop souvent. Demandez-nous-en un nouveau par SMS.",
    },
    reasons={
        "too_large": "trop volumineux",
        "type": "type de fichier non accepté",
        "too_many_pixels": "l’image a trop de pixels",
        "broken": "le fichier est endommagé",
        "infected": "le fichier s’est révélé dangereux",
        "too_many": "trop de fichiers",
    },
)
SPANISH = Words(
    title="Envíe sus archivos",
    intro="Sus fotos, vídeos o documentos llegan directamente a {brand}, a la conversación que tiene con nosotros.",
    camera="Cámara",
    choose="Elegir archivos",
    chosen="Archivos elegidos",
    limits="Hasta {files} archivos, de {size} MB como máximo cada uno.",
    left="Este enlace sirve una sola vez, durante {minutes} min más.",
    place="El lugar donde se tomó una foto se borra antes de que nadie la vea.",
    send="Enviar",
    remove="Quitar {name}",
    sending="Enviando: {percent} %",
    checking="Recibido. Comprobando los archivos…",
    lost="Se ha perdido la conexión. Sus archivos siguen aquí; nuevo intento en {seconds} s.",
    again="Reintentar ahora",
    cancel="Detener",
    nothing="Elija primero un archivo.",
    leave="Sus archivos todavía se están enviando.",
    done_title="Gracias",
    done="Sus archivos han llegado. Puede cerrar esta página.",
    done_some="Los demás archivos han llegado. Puede cerrar esta página.",
    refused="No aceptados:",
    other_link="Para enviar otro archivo, pídanos un enlace nuevo por SMS.",
    failed="Algo ha fallado por nuestra parte. Inténtelo de nuevo, por favor.",
    slow="Ha tardado demasiado. Inténtelo de nuevo, si puede con menos archivos.",
    media_over="Este enlace ha caducado.",
    media_checking="Este archivo todavía se está comprobando. Inténtelo de nuevo en un minuto.",
    problems={
        "unknown": "Este enlace no está completo. Ábralo de nuevo desde nuestro SMS.",
        "used": "Los archivos enviados con este enlace han llegado. Si quiere enviar más, pídanos un enlace nuevo por SMS.",
        "expired": "Este enlace ha caducado. Pídanos uno nuevo por SMS.",
        "busy": "Estamos recibiendo archivos en este momento. Inténtelo de nuevo en un instante.",
        "too_often": "Este enlace se ha probado demasiadas veces. Pídanos uno nuevo por SMS.",
    },
    reasons={
        "too_large": "demasiado grande",
        "type": "tipo de archivo no aceptado",
        "too_many_pixels": "la imagen tiene demasiados píxeles",
        "broken": "el archivo está dañado",
        "infected": "el archivo resultó ser dañino",
        "too_many": "demasiados archivos",
    },
)
WORDS: Mapping[str, Words] = MappingProxyType({"en": ENGLISH, "fr": FRENCH, "es": SPANISH})
